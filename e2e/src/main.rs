//! Runs the cases.

use e2e::{
    cache::Cache,
    local::{self, Local, Programs},
    output::Output,
};

#[tokio::main]
async fn amain() {
    let out = Output::new();
    let r: anyhow::Result<()> = async {
        let cache = Cache::open()?;
        let a: Vec<String> = std::env::args().collect();
        match a[1].as_str() {
            "start" => {
                let p = out
                    .step("Building", "the cluster's programs", async |s| {
                        Programs::provide(&cache, &s).await
                    })
                    .await?;
                let l = Local::start(&cache, &a[2], p, &out).await?;
                println!("{} {}", l.address(), l.kubeconfig().display());
            }
            _ => println!("{}", Local::stop(&cache, &a[2]).await?),
        }
        Ok(())
    }
    .await;
    if let Err(e) = r {
        out.error(&e);
        std::process::exit(1);
    }
}
fn main() {
    local::serve_if_asked();
    amain();
}
