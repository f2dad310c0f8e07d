//! A walk over the schema: every field of the spec is set, made wrong and put back, and the end is that of a fresh Registry.
//!
//! The rows of [`rows`] have a value for every field, and a test fails when the schema has a field without one. A spec can
//! name one kind of storage only, so there is one walk for each kind; they run side by side.

mod rows;
mod schema;

use anyhow::{Context as _, Result, bail, ensure};
use e2e::wait::{Seen, wait_for};
use futures_util::future::join_all;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use operator_api::Registry;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::operator::{DEADLINE, Operator, create, registry, rolled_out};
use crate::samples::prerequisites;
use crate::snapshot::{ApiResources, Snapshot};
use rows::{Expected, Row, Walk};

#[tokio::test]
async fn each_field_that_is_set_made_wrong_and_put_back_leaves_nothing_behind() -> Result<()> {
    let ended = join_all(rows::walks().into_iter().map(walked)).await;
    let errors = ended
        .into_iter()
        .filter_map(|ended| Some(format!("{:#}", ended.err()?)));
    let wrong: Vec<String> = errors.collect();
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Walks from one spec through all rows and back.
async fn walked(walk: Walk) -> Result<()> {
    let (old, fresh) = (format!("walk-{}", walk.name), format!("fresh-{}", walk.name));
    let (old, fresh) = (
        Cluster::with_namespace(&old).await?,
        Cluster::with_namespace(&fresh).await?,
    );
    let mut operators = Vec::new();
    for cluster in [&old, &fresh] {
        prerequisites(cluster).await?;
        rows::further_prerequisites(cluster).await?;
        operators.push(Operator::start(cluster));
        create(cluster, &registry("harbour", walk.spec.clone())).await?;
        settled(cluster).await?;
        rolled_out(cluster, "harbour").await?;
    }
    let kinds = ApiResources::of(&old).await?;
    let schema = schema::of_spec();
    let mut wrong = Vec::new();
    for row in &walk.rows {
        let step = stepped(&old, &schema, &walk, row).await;
        wrong.extend(
            step.err()
                .map(|error| format!("{}: {}: {error:#}", walk.name, row.set)),
        );
    }
    for cluster in [&old, &fresh] {
        rolled_out(cluster, "harbour").await?;
    }
    let what = format!("walk `{}` to end as a fresh Registry", walk.name);
    let ended = wait_for(&what, DEADLINE, async || {
        let before = Snapshot::of(&fresh, &kinds).await?.of_children();
        let after = Snapshot::of(&old, &kinds).await?.of_children();
        Ok(match before.difference(&after) {
            None => Seen::Done(()),
            Some(difference) => Seen::NotYet(difference),
        })
    })
    .await;
    wrong.extend(ended.err().map(|error| format!("{error:#}")));
    for operator in operators {
        operator.stop().await?;
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Sets the fields of one row, makes them wrong, and puts them back.
async fn stepped(cluster: &Cluster, schema: &Value, walk: &Walk, row: &Row) -> Result<()> {
    let api = cluster.api::<Registry>();
    change(&api, &row.set, &PatchParams::default())
        .await
        .context("cannot be set")?;
    let reason = settled(cluster).await?;
    match row.expected {
        Expected::Applied if !rows::FINE.contains(&reason.as_str()) => bail!("is set and says {reason}"),
        Expected::Told if rows::FINE.contains(&reason.as_str()) => bail!("is set and nothing is told"),
        Expected::Applied | Expected::Told | Expected::Either => {}
    }
    let try_only = PatchParams {
        dry_run: true,
        ..Default::default()
    };
    for broken in schema::broken(schema, &row.set) {
        match change(&api, &broken, &try_only).await {
            Err(kube::Error::Api(status)) if matches!(status.code, 400 | 422) => {}
            Ok(()) => bail!("the API server accepts {broken}"),
            Err(error) => return Err(error.into()),
        }
    }
    if let Some(refused) = &row.wrong {
        change(&api, refused, &PatchParams::default())
            .await
            .context("cannot be made wrong")?;
        let reason = settled(cluster).await?;
        ensure!(
            !rows::FINE.contains(&reason.as_str()),
            "is made wrong, and says {reason}"
        );
    }
    put_back(cluster, &walk.spec).await?;
    let reason = settled(cluster).await?;
    ensure!(
        rows::FINE.contains(&reason.as_str()),
        "is put back and says {reason}"
    );
    // An earlier configuration goes when no Pod can use it any more.
    rolled_out(cluster, "harbour").await
}

async fn change(api: &Api<Registry>, spec: &Value, params: &PatchParams) -> Result<(), kube::Error> {
    let body = json!({ "spec": spec });
    api.patch("harbour", params, &Patch::Merge(&body)).await.map(drop)
}

/// Replaces the whole spec.
async fn put_back(cluster: &Cluster, spec: &Value) -> Result<()> {
    let api = cluster.api::<Registry>();
    loop {
        let mut wanted = registry("harbour", spec.clone());
        wanted.metadata = api.get("harbour").await?.metadata;
        match api.replace("harbour", &PostParams::default(), &wanted).await {
            // The operator has written a status meanwhile.
            Err(kube::Error::Api(status)) if status.is_conflict() => {}
            replaced => return replaced.map(drop).context("cannot be put back"),
        }
    }
}

/// Waits until the operator has told of the present spec, and gives the reason of Ready.
async fn settled(cluster: &Cluster) -> Result<String> {
    wait_for("the Registry to be settled", DEADLINE, async || {
        let found = cluster.api::<Registry>().get("harbour").await?;
        let status = found.status.unwrap_or_default();
        let ready = status
            .conditions
            .iter()
            .find(|condition| condition.type_ == "Ready");
        let Some(ready) = ready else {
            return Ok(Seen::NotYet("it has no status".to_owned()));
        };
        // Nobody applies the spec of a paused Registry.
        let current = status.observed_generation == found.metadata.generation
            || found.spec.paused && ready.reason == "Paused";
        Ok(if current {
            Seen::Done(ready.reason.clone())
        } else {
            Seen::NotYet(serde_json::to_string(&status)?)
        })
    })
    .await
}

#[test]
fn every_field_of_the_schema_has_a_row() {
    let schema = schema::of_spec();
    let walks = rows::walks();
    let mut set = std::collections::BTreeSet::new();
    for walk in &walks {
        schema::fields(&schema, &walk.spec, &mut set);
        for row in &walk.rows {
            schema::fields(&schema, &row.set, &mut set);
        }
    }
    let all = schema::all_fields(&schema);
    let elsewhere = rows::ELSEWHERE.map(|(field, _)| field.to_owned());
    let missing: Vec<_> = all
        .iter()
        .filter(|field| !set.contains(*field) && !elsewhere.contains(field))
        .collect();
    assert!(
        missing.is_empty(),
        "these fields have no row in `walk/rows.rs`: {missing:?}"
    );
    for field in elsewhere {
        assert!(all.contains(&field), "the schema has no `{field}`");
    }
}
