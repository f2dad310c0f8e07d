//! Builds the options of the driver for S3, and for stores with its protocol, from `storage.s3`.

use registry_config::Secret;
use registry_config::model::S3;

use crate::storage::{S3Credentials, S3Encryption, S3Options};

/// The address, credentials and limits of a bucket.
pub(super) fn options(s3: &S3, redirect: bool) -> S3Options {
    let registry_config::model::S3 {
        accesskey,
        secretkey,
        sessiontoken,
        region,
        regionendpoint,
        forcepathstyle,
        bucket,
        encrypt,
        keyid,
        secure,
        skipverify,
        cacert,
        chunksize,
        multipartcopychunksize,
        multipartcopymaxconcurrency,
        multipartcopythresholdsize,
        rootdirectory,
        storageclass,
        objectacl,
        useragent,
        usedualstack,
        accelerate,
        usefipsendpoint,
        redirectendpoint,
    } = s3;
    let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let secret = |secret: &Option<Secret>| {
        let secret = secret.as_ref().filter(|secret| !secret.is_empty());
        secret.map(|secret| secret.expose().to_owned())
    };
    S3Options {
        bucket: bucket.clone(),
        region: text(region),
        endpoint: text(regionendpoint),
        path_style: *forcepathstyle,
        secure: *secure,
        skip_verify: *skipverify == Some(true),
        ca_file: text(cacert).map(Into::into),
        credentials: secret(accesskey)
            .zip(secret(secretkey))
            .map(|(access_key, secret_key)| S3Credentials {
                access_key,
                secret_key,
                session_token: secret(sessiontoken),
            }),
        root: rootdirectory.clone().unwrap_or_default(),
        part_size: *chunksize,
        copy_whole_up_to: *multipartcopythresholdsize,
        copy_piece: *multipartcopychunksize,
        copy_at_once: *multipartcopymaxconcurrency,
        encryption: match (*encrypt == Some(true), text(keyid)) {
            (false, _) => S3Encryption::Bucket,
            (true, None) => S3Encryption::Managed,
            (true, Some(key)) => S3Encryption::Kms(key),
        },
        // In distribution `NONE` means that no storage class is sent.
        storage_class: text(storageclass).filter(|class| class != "NONE" && class != "STANDARD"),
        acl: text(objectacl).filter(|acl| acl != "private"),
        user_agent: text(useragent),
        dual_stack: *usedualstack == Some(true),
        accelerate: *accelerate == Some(true),
        fips: *usefipsendpoint == Some(true),
        redirect,
        redirect_endpoint: text(redirectendpoint),
    }
}
