//! The table of every object that one Registry has. Reading, applying and pruning go through it.
//!
//! Guarantees: a child is declared in one row of [`for_each_child`]; a row makes the field of [`Children`] that `build`
//! must fill, and no step can leave a row out. Must not: say what a child contains, which `build` does.
//! Start at [`for_each_child`].

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Resource;
use kube::core::NamespaceResourceScope;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::names::Names;
use crate::ownership::{Lifetime, is_ours};
use crate::references::Named;
use crate::subject::Subject;

/// Calls the macro `$row` with the table: field, kind, [`Lifetime`], and the method of [`Names`] that names the object.
/// The rows stand in the order in which the children are applied.
macro_rules! for_each_child {
    ($row:ident) => {
        $row! {
            // Children that cannot be made again come first: a certificate must never be stored before the CA that
            // signed it, or an interrupted reconcile would leave clients with a certificate that no CA vouches for.
            /// Secret that signs the state of uploads.
            http_secret: Secret, CreatedOnce, http_secret;
            /// The CA with its private key. No Pod mounts it.
            ca_key: Secret, Renewed, ca_key;
            /// The CAs that clients must trust.
            ca_bundle: ConfigMap, UntilRolledOut, ca_bundle;
            /// The same CAs for programs that read them from a Secret.
            ca_secret: Secret, UntilRolledOut, ca_secret;
            /// The CA with which the Ingress verifies the server.
            upstream_ca: Secret, UntilRolledOut, upstream_ca;
            /// The server's certificate.
            server_certificate: Secret, UntilRolledOut, server_certificate;
            /// The Ingress's certificate.
            edge_certificate: Secret, UntilRolledOut, edge_certificate;
            // Before the first Pod, so that no connection gets through that the policy forbids.
            /// NetworkPolicy.
            network_policy: NetworkPolicy, UntilUnwanted, network_policy;
            // Then everything that a Pod needs to start, and the Deployment after it.
            /// The users and the certificate, which the server reads again while it runs.
            live: Secret, UntilRolledOut, live;
            /// ServiceAccount of the Pods.
            service_account: ServiceAccount, UntilRolledOut, service_account;
            /// `config.yml`, when no value in it is secret.
            config: ConfigMap, Immutable, config;
            /// Everything secret that the server reads when it starts.
            inputs: Secret, Immutable, inputs;
            /// The claim made from the template.
            claim: PersistentVolumeClaim, Lasting, claim;
            /// Service.
            service: Service, UntilRolledOut, service;
            /// Deployment.
            deployment: Deployment, UntilRolledOut, deployment;
            /// PodDisruptionBudget.
            disruption_budget: PodDisruptionBudget, UntilUnwanted, disruption_budget;
            /// HorizontalPodAutoscaler.
            autoscaler: HorizontalPodAutoscaler, UntilUnwanted, autoscaler;
            // The Ingress last: its controller looks for the Service and the Secrets at once.
            /// Ingress.
            ingress: Ingress, UntilUnwanted, ingress;
        }
    };
}
pub(crate) use for_each_child;

/// A moment in a reconcile, which decides the types of the fields of [`Children`].
pub trait Stage {
    /// The type of a field for a child of kind `K`.
    type Of<K>;
}

/// After `read`: the object under each name; of immutable ones, the object that the Deployment uses.
#[derive(Clone, Copy, Debug)]
pub struct Existing;
impl Stage for Existing {
    type Of<K> = Found<K>;
}

/// After `build`: the wanted state of each child.
#[derive(Clone, Copy, Debug)]
pub struct Desired;
impl Stage for Desired {
    type Of<K> = Want<K>;
}

/// After `apply`: the child as the API server has it, if there is one.
#[derive(Clone, Copy, Debug)]
pub struct Live;
impl Stage for Live {
    type Of<K> = Option<K>;
}

/// The object under a child's name.
#[derive(Clone, Debug, Default)]
pub enum Found<K> {
    /// Nothing.
    #[default]
    Absent,
    /// An object of this Registry.
    Ours(K),
    /// Somebody else's object.
    Foreign,
    /// It could not be read. Nothing is written in its place.
    Unreadable,
}

impl<K> Found<K> {
    /// The object, when it is this Registry's.
    pub fn ours(&self) -> Option<&K> {
        match self {
            Self::Ours(object) => Some(object),
            Self::Absent | Self::Foreign | Self::Unreadable => None,
        }
    }
}

impl<K: Resource> Found<K> {
    /// Decides whose object was found.
    pub(crate) fn of(object: Option<K>, lifetime: Lifetime, subject: &Subject) -> Self {
        match object {
            None => Self::Absent,
            Some(object) if is_ours(object.meta(), lifetime, subject) => Self::Ours(object),
            Some(_) => Self::Foreign,
        }
    }
}

/// The wanted state of a child.
#[derive(Clone, Debug)]
pub enum Want<K> {
    /// The object should exist with these fields.
    Present(K),
    /// The object should exist; when it does, it stays as it is.
    IfMissing(K),
    /// The Registry has no such object. One of an earlier spec is deleted, as its [`Lifetime`] says.
    Absent,
    /// The part of the spec that it is built from is wrong, or the Registry is paused: it stays as it is.
    Unchanged,
}

impl<K> Want<K> {
    /// The object that should exist, if one is asked for.
    pub(crate) fn object(&self) -> Option<&K> {
        match self {
            Self::Present(object) | Self::IfMissing(object) => Some(object),
            Self::Absent | Self::Unchanged => None,
        }
    }

    /// Creates the object where it is missing, and neither changes nor deletes it.
    fn only_if_missing(self) -> Self {
        match self {
            Self::Present(object) | Self::IfMissing(object) => Self::IfMissing(object),
            Self::Absent | Self::Unchanged => Self::Unchanged,
        }
    }

    /// Does not delete the object.
    fn never_delete(self) -> Self {
        match self {
            Self::Absent => Self::Unchanged,
            other => other,
        }
    }
}

impl<K> From<Option<K>> for Want<K> {
    fn from(object: Option<K>) -> Self {
        object.map_or(Self::Absent, Self::Present)
    }
}

/// A kind that a child can be.
pub(crate) trait ChildObject:
    Clone
    + std::fmt::Debug
    + DeserializeOwned
    + Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Serialize
{
}

impl<K> ChildObject for K where
    K: Clone
        + std::fmt::Debug
        + DeserializeOwned
        + Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Serialize
{
}

macro_rules! define {
    ($($(#[$doc:meta])* $field:ident: $kind:ty, $lifetime:ident, $name:ident;)*) => {
        /// Every object that one Registry has.
        pub struct Children<S: Stage> {
            $($(#[$doc])* pub $field: S::Of<$kind>,)*
        }

        impl Default for Children<Existing> {
            fn default() -> Self {
                Self { $($field: Found::Absent,)* }
            }
        }

        impl Children<Desired> {
            /// Leaves every child as it is.
            pub fn unchanged() -> Self {
                Self { $($field: Want::Unchanged,)* }
            }

            /// The wanted state while the Deployment must stay as it is. Its running Pods do not know of changes, so
            /// the objects that lead to them are only created where they are missing, and their configuration stays.
            /// Certificates and their CAs are renewed. Nothing is deleted.
            pub(crate) fn keep_deployment(self) -> Self {
                let all = Self { $($field: self.$field.never_delete(),)* };
                Self {
                    service_account: all.service_account.only_if_missing(),
                    config: Want::Unchanged,
                    inputs: Want::Unchanged,
                    service: all.service.only_if_missing(),
                    deployment: Want::Unchanged,
                    ingress: all.ingress.only_if_missing(),
                    ..all
                }
            }

            /// The wanted state until the Pods answer what the Service and the Ingress will lead to. These stay as they are, and
            /// nothing that they use is deleted.
            pub(crate) fn keep_access(self) -> Self {
                Self {
                    ca_bundle: self.ca_bundle.never_delete(),
                    ca_secret: self.ca_secret.never_delete(),
                    upstream_ca: self.upstream_ca.never_delete(),
                    edge_certificate: self.edge_certificate.never_delete(),
                    server_certificate: self.server_certificate.never_delete(),
                    service: self.service.only_if_missing(),
                    ingress: self.ingress.only_if_missing(),
                    ..self
                }
            }

            /// Whether an object has to be made that is not there.
            pub(crate) fn makes_objects(&self, existing: &Children<Existing>) -> bool {
                false $(|| matches!(
                    (&self.$field, &existing.$field),
                    (Want::Present(_) | Want::IfMissing(_), Found::Absent)
                ))*
            }

            /// The objects of somebody else that stand where something has to be applied, now or once the rest of the
            /// spec is right. Generated secrets and claims are only looked at when they are asked for: `validate` has
            /// told the others.
            pub(crate) fn foreign(
                &self,
                existing: &Children<Existing>,
                named: &Named,
                names: &Names,
            ) -> Vec<ForeignObject> {
                let mut all = Vec::new();
                $(let wanted = match self.$field {
                    Want::Present(_) | Want::IfMissing(_) => true,
                    Want::Absent => false,
                    Want::Unchanged => {
                        !Lifetime::$lifetime.outlives_the_registry()
                            && !named.holds::<$kind>(&names.$name())
                    }
                };
                if wanted && matches!(existing.$field, Found::Foreign) {
                    all.push(ForeignObject::new::<$kind>(names.$name()));
                })*
                all
            }
        }

        impl Children<Existing> {
            /// The Registry's own objects.
            pub fn live(&self) -> Children<Live> {
                Children { $($field: self.$field.ours().cloned(),)* }
            }
        }
    };
}
for_each_child!(define);

/// Deliberately without contents: some children are Secrets.
impl<S: Stage> std::fmt::Debug for Children<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Children").finish_non_exhaustive()
    }
}

/// An object of somebody else with a name that a child of this Registry needs.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{kind} `{name}` exists and does not belong to this Registry")]
pub struct ForeignObject {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
}

impl ForeignObject {
    /// An object of kind `K`.
    pub(crate) fn new<K: Resource<DynamicType = ()>>(name: String) -> Self {
        Self {
            kind: K::kind(&()).into_owned(),
            name,
        }
    }

    /// The next thing that the author of the Registry can do.
    pub fn hint(&self) -> String {
        "delete or rename it, or rename the Registry".to_owned()
    }
}
