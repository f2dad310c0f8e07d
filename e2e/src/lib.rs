//! Clusters, clients and cases of the end-to-end suite
