//! Every case of the suite, in the order in which they begin; those that are `alone` run when the others have ended.
//!
//! To add one: write `async fn(&Context<'_>) -> Result<()>` in a file of `cases/`, and a line here. Its name is a sentence
//! about behaviour. A case that measures, or changes something that all share, is `alone`. Start at [`all`].

use crate::case;
use crate::runner::Case;

mod artifacts;
pub mod attacks;
mod backup;
mod basics;
mod bounded_pull;
mod clients;
mod conformance;
mod data_compatibility;
mod docker_run;
mod docker_today;
mod durability;
mod flux;
mod gitops;
mod image_volume;
mod ingress;
mod kubectl_output;
mod lifecycle;
mod node_program;
mod object_storage;
mod packaging;
mod partial_pull;
mod proxies;
mod ready_registry;
mod rollout;
mod server;
mod status;
mod stores;
mod verified;

/// All cases.
#[must_use]
pub fn all() -> Vec<Case> {
    vec![
        // The longest begin first, so that none is left over when the others have ended.
        case!(
            machine Client,
            "a store that fails for a while costs time and nothing else",
            stores::a_store_that_fails_for_a_while
        ),
        case!(
            machine Client,
            "memory stays bounded over a 2 GiB push",
            server::memory_stays_bounded
        ),
        case!(
            machine Crash,
            "three servers on one bucket lose nothing when one is killed",
            stores::three_on_one_bucket
        ),
        case!(
            machine Crash,
            "a loss of power at any moment loses nothing that was answered",
            durability::a_loss_of_power_loses_nothing
        ),
        case!(
            Client,
            "a slow layer gets through the Ingress controller",
            ingress::a_slow_layer_gets_through
        ),
        case!(
            Cluster,
            "a push right after Ready succeeds, 20 times",
            lifecycle::a_push_right_after_ready_succeeds
        ),
        case!(
            Cluster,
            "an artifact is really pushed and pulled when somebody asks",
            verified::an_artifact_is_pushed_and_pulled_when_somebody_asks
        ),
        case!(
            Cluster,
            "a rotated password is followed by the same Pod",
            lifecycle::a_rotated_password_is_followed_by_the_same_pod
        ),
        case!(
            Cluster,
            "a second Registry on the same folder of a bucket is refused, and its status says whose it is",
            object_storage::a_second_registry_on_the_same_folder_is_refused
        ),
        case!(
            Client,
            "a Debian image goes round docker, kubelet, skopeo and crane",
            clients::a_debian_image_goes_round
        ),
        case!(
            Client,
            "docker pushes and a kubelet runs what was pushed",
            basics::docker_pushes_and_a_kubelet_runs
        ),
        case!(
            Client,
            "docker of today pushes and pulls with a password over TLS",
            docker_today::pushes_and_pulls
        ),
        case!(
            Client,
            "a Pod mounts an image of a Registry as a volume",
            image_volume::a_pod_mounts_an_image
        ),
        case!(
            Client,
            "a Pod pushes and pulls by the Ingress host and by the Service",
            clients::a_pod_pushes_and_pulls
        ),
        case!(
            Client,
            "without a login every client is refused with 401",
            clients::strangers_are_refused
        ),
        case!(
            Client,
            "the docker run lines people know work",
            docker_run::known_lines_work
        ),
        case!(
            machine Client,
            "the specification's conformance program finds nothing",
            conformance::conformance
        ),
        case!(
            machine Client,
            "answers are those of registry:2 and registry:3 except for the listed differences",
            server::answers_are_the_peers
        ),
        case!(
            machine Client,
            "artifacts go round oras and regctl, listed by their types",
            artifacts::artifacts_go_round
        ),
        case!(
            machine Client,
            "Helm 3 and Helm 4 push the operator's chart and pull it back",
            packaging::the_chart_goes_round
        ),
        case!(
            machine Client,
            "skopeo pulls only the changed parts of a zstd:chunked image",
            partial_pull::only_what_changed_is_pulled
        ),
        case!(
            alone machine Client,
            "nobody holds the server up",
            attacks::nobody_holds_the_server_up
        ),
        case!(
            machine Client,
            "a tree of registry:2, registry:3 or ours is served by the others with the same answers",
            data_compatibility::trees_are_served_with_the_same_answers
        ),
        case!(
            machine Client,
            "an upload begun on one server is finished on the other",
            data_compatibility::uploads_change_hands
        ),
        case!(
            machine Client,
            "a referrer that another server pushes or deletes is seen",
            data_compatibility::referrers_of_another_server_are_seen
        ),
        case!(
            machine Client,
            "a schema 1 manifest that registry:2 keeps is served as stored",
            data_compatibility::old_manifests_are_served
        ),
        case!(
            machine Client,
            "a truncated blob in another server's tree is repaired by a push",
            data_compatibility::a_torn_blob_is_healed
        ),
        case!(
            machine Client,
            "the others' garbage collection keeps what is tagged in our tree",
            data_compatibility::their_collection_keeps_what_is_tagged
        ),
        case!(
            machine Client,
            "an abandoned upload is purged by any server",
            data_compatibility::abandoned_uploads_are_purged
        ),
        case!(
            machine Client,
            "a push and a pull make far fewer store requests than with registry:3",
            stores::requests_are_counted
        ),
        case!(
            machine Client,
            "a store that cannot be used is reported to everybody and nothing is acknowledged",
            stores::a_store_that_cannot_be_used
        ),
        case!(
            machine Client,
            "every object in S3 is encrypted and kept as configured",
            stores::every_object_is_kept_as_configured
        ),
        case!(
            machine Client,
            "temporary credentials for S3 are found, asked for once, and renewed",
            stores::temporary_credentials_are_found_and_renewed
        ),
        case!(
            machine Client,
            "a session token opens S3, another one does not, and missing credentials are named",
            stores::a_session_is_needed_and_told
        ),
        case!(
            machine Client,
            "on S3 without conditional writes pushes work and a second owner is refused",
            stores::a_store_without_conditions
        ),
        case!(
            machine Crash,
            "three servers on one folder lose nothing when one is killed",
            stores::three_on_one_folder
        ),
        case!(
            machine Crash,
            "a tree is copied through all stores by copies that are killed and resumed",
            stores::a_tree_goes_round
        ),
        case!(
            machine Client,
            "behind nginx every URL is the outer one and uploads go on",
            proxies::behind_nginx
        ),
        case!(
            machine Client,
            "behind nginx with its own password a foreign login is ignored",
            proxies::behind_nginx_with_its_own_password
        ),
        case!(
            machine Client,
            "behind HAProxy every URL is the outer one and uploads go on",
            proxies::behind_haproxy
        ),
        case!(
            machine Client,
            "behind Traefik every URL is the outer one and uploads go on",
            proxies::behind_traefik
        ),
        case!(
            machine Client,
            "behind two proxies the first one's headers count",
            proxies::behind_a_chain_of_proxies
        ),
        case!(
            machine Client,
            "behind a proxy without forwarding headers the configuration names the outer URL",
            proxies::behind_a_silent_proxy
        ),
        case!(
            machine Client,
            "behind a path prefix every URL has it",
            proxies::behind_a_path_prefix
        ),
        case!(
            Client,
            "nginx takes a large layer with the Ingress's annotations",
            ingress::nginx_takes_a_large_layer
        ),
        case!(
            Cluster,
            "TLS ends at the Ingress or at the server, and answers name the right address",
            ingress::edge_and_reencrypt
        ),
        case!(
            Cluster,
            "on a bucket no push fails while three replicas are rolled and one is killed",
            object_storage::no_push_fails_while_replicas_come_and_go
        ),
        case!(
            Cluster,
            "no push fails while the image, the configuration and the TLS of two replicas change",
            rollout::no_push_fails_while_everything_changes
        ),
        case!(
            Cluster,
            "with a volume for one node a change is a gap of seconds, after which a push succeeds",
            rollout::one_volume_for_one_node_means_a_gap
        ),
        case!(
            Cluster,
            "a failed rollout leaves the replicas that serve, and one that restarts serves again",
            object_storage::a_failed_rollout_leaves_the_replicas_that_serve
        ),
        case!(
            Cluster,
            "a missing bucket or wrong keys are named in the status, and followed when mended",
            object_storage::a_store_that_refuses_is_told_and_followed
        ),
        case!(
            Cluster,
            "Flux and Argo CD call a Registry healthy exactly when a push works",
            gitops::healthy_exactly_when_a_push_works
        ),
        case!(
            Cluster,
            "Flux applies a Registry that an artifact in another one holds, and waits until a push works",
            flux::applied_from_an_artifact
        ),
        case!(
            Cluster,
            "three replicas stay Ready while a Pod is replaced, a change is rolled out and another is refused",
            status::ready_stays_true_while_clients_are_served
        ),
        case!(
            Cluster,
            "two Registries with one host both name the other",
            status::a_host_of_two_registries_is_told_by_both
        ),
        case!(
            Cluster,
            "mistyped classes of Ingress and storage are named in the status",
            status::mistyped_classes_are_named
        ),
        case!(
            Cluster,
            "deleted and applied again a Registry is the same",
            lifecycle::a_reapplied_registry_is_the_same
        ),
        case!(
            Cluster,
            "a Registry comes back from a VolumeSnapshot of its claim, with the same CA and HTTP secret",
            backup::restored_from_a_snapshot
        ),
        case!(
            Cluster,
            "kubectl tells a Registry's life, from its birth to its deletion",
            kubectl_output::told_by_kubectl
        ),
        case!(
            Cluster,
            "an existing claim for one node gets one replica",
            lifecycle::an_existing_claim_for_one_node_gets_one_replica
        ),
        case!(
            Cluster,
            "a missing Secret is named, and followed when it comes",
            lifecycle::a_missing_secret_is_named_and_followed
        ),
        case!(
            machine Crash,
            "an upload goes on after kill -9 of the server",
            server::a_killed_upload_is_continued
        ),
        case!(
            machine Crash,
            "a kill right after the answer loses nothing",
            server::a_kill_behind_the_answer_loses_nothing
        ),
        case!(
            alone machine Crash,
            "a kill at any system call loses nothing that was answered",
            durability::a_kill_at_any_call_loses_nothing
        ),
        case!(
            machine Crash,
            "a large layer goes to a bucket in parts, in bounded memory",
            stores::a_large_layer
        ),
        case!(
            machine Crash,
            "a full disk refuses pushes, serves pulls, says it once and recovers by itself",
            durability::full_disk
        ),
        case!(
            machine Crash,
            "a read-only disk refuses pushes, serves pulls, says it once and recovers by itself",
            durability::read_only_disk
        ),
        case!(
            Crash,
            "an upload goes on with the successor of a killed Pod",
            lifecycle::a_killed_pods_upload_goes_on_with_its_successor
        ),
        case!(
            alone Cluster,
            "the chart comes from a Registry, takes over from the manifests, is upgraded and removed",
            packaging::the_chart_takes_over
        ),
        // Last: the longer the cluster has run, the more there is that could keep writing.
        case!(
            alone Cluster,
            "a quiet minute has no write by the operator",
            lifecycle::a_quiet_minute_has_no_write
        ),
    ]
}
