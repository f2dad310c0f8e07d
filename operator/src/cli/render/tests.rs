use super::*;

fn rendered(yaml: &str) -> Rendered {
    let objects: Vec<Value> = serde_saphyr::from_multiple(yaml).unwrap();
    let (mut registries, others): (Vec<Value>, Vec<Value>) = objects
        .into_iter()
        .partition(|object| object["kind"] == "Registry");
    one(registries.remove(0), &others, &Settings::default()).unwrap()
}

const HARBOUR: &str = "
apiVersion: berth.dev/v1alpha1
kind: Registry
metadata: {name: harbour}
spec:
  storage: {persistentVolumeClaim: {template: {size: 5Gi}}}
  auth: {htpasswd: {secretKeyRef: {name: users}}}
  ingress: {hosts: [harbour.example]}
";

const USERS: &str = "
---
apiVersion: v1
kind: Secret
metadata: {name: users}
stringData: {htpasswd: 'anna:$2y$05$Q0Gd0AOLzyPSbRkKQ4dBEeQvEVmPrUAMOj4RSTqBHHD/aMSrXcWSm'}
";

#[test]
fn every_object_is_printed_and_nothing_of_a_secret() {
    let rendered = rendered(&format!("{HARBOUR}{USERS}"));
    assert!(rendered.is_right, "{:?}", rendered.notes);
    for kind in [
        "Deployment",
        "Service",
        "Ingress",
        "PersistentVolumeClaim",
        "Secret",
    ] {
        assert!(
            rendered.text.contains(&format!("kind: {kind}\n")),
            "{kind}: {}",
            rendered.text
        );
    }
    for secret in ["$2y$05", "JDJ5JDA1", "PRIVATE KEY", "BEGIN"] {
        assert!(!rendered.text.contains(secret), "{secret}: {}", rendered.text);
    }
}

#[test]
fn the_same_files_give_the_same_text() {
    let yaml = format!("{HARBOUR}{USERS}");
    assert_eq!(rendered(&yaml).text, rendered(&yaml).text);
}

#[test]
fn a_missing_secret_is_told_and_the_other_objects_are_printed() {
    let rendered = rendered(HARBOUR);
    assert!(!rendered.is_right);
    let told = rendered.notes.join("\n");
    assert!(told.contains("`users`"), "{told}");
    assert!(rendered.text.contains("kind: Service\n"), "{}", rendered.text);
    assert!(!rendered.text.contains("kind: Deployment\n"), "{}", rendered.text);
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let rendered = rendered(&format!(
        "{HARBOUR}  config: {{http: {{addr: ':1'}}}}\n  ingres: {{hosts: [a.example]}}\n"
    ));
    let told = rendered.notes.join("\n");
    for words in ["http.addr", "`users`", "`spec.ingres`"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert!(!rendered.is_right);
}

#[test]
fn fields_that_no_registry_has_are_named_at_every_level() {
    let yaml = HARBOUR.replace("size: 5Gi", "size: 5Gi, sizes: 1");
    let yaml = yaml.replace(
        "spec:",
        "spec:\n  pod: {tolerations: [{keys: a}], affinity: {}, nodeSelector: {any: name}}",
    );
    let told = rendered(&yaml).notes.join("\n");
    for words in [
        "`spec.storage.persistentVolumeClaim.template.sizes`",
        "`spec.pod.tolerations[0].keys`",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert!(!told.contains("any"), "{told}");
    let object = serde_saphyr::from_str(&HARBOUR.replace("spec:", "spec:\n  replicas: many")).unwrap();
    let error = one(object, &[], &Settings::default()).err();
    let told = error.map(|error| format!("{error:#}")).unwrap_or_default();
    assert!(
        told.contains("Registry `harbour`") && told.contains("spec.replicas"),
        "{told}"
    );
}

#[test]
fn of_every_sample_the_service_is_printed_and_only_objects_that_it_names_are_missing() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/samples");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let objects = parse(&path, "default").unwrap();
        let registry = objects
            .into_iter()
            .find(|object| object["kind"] == "Registry")
            .unwrap();
        let rendered = one(registry, &[], &Settings::default()).unwrap();
        assert!(rendered.text.contains("kind: Service\n"), "{}", path.display());
        let errors = rendered.notes.iter().filter(|note| note.starts_with("error: "));
        let others: Vec<_> = errors.filter(|error| !error.contains("does not exist")).collect();
        assert!(others.is_empty(), "{}: {others:?}", path.display());
        count += 1;
    }
    assert!(count > 10, "{count} samples");
}
