//! An HTTP server for models.
//!
//! A request's body is read within limits ([`body`]); its images take places in the queue of their model, or are rejected; they are decoded on a bounded
//! number of threads ([`served`]); a thread per model computes them in batches ([`queue`]).

mod auth;
mod body;
mod connections;
mod failure;
mod images;
mod logs;
mod metrics;
mod page;
mod protocol;
mod queue;
mod served;
mod server;
mod statistics;

use super::images::preprocess_of;
use super::messages::text;
use super::model::{BUILT_IN, OpeningArgs};
use super::numbers::count;
use super::{ExecutionArgs, HeadArgs, Result, be_quiet, warn_if_assumed};
use auth::Token;
use body::Bodies;
use clap::Args;
use connections::Connections;
use logs::LogFormat;
use metrics::Metrics;
pub use protocol::reads as reads_request;
use queue::Batching;
use served::{Served, Shared};
use server::Server;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use vitraux::Model;

#[derive(Debug, Args)]
pub struct Serve {
    /// Model, as in `vitraux classify --model`; NAME=MODEL gives it another name in URLs than its own; may be repeated [default: as of the other commands]
    #[arg(long, short, value_name = "[NAME=]MODEL", help_heading = "Model options")]
    model: Vec<String>,
    #[command(flatten)]
    opening: OpeningArgs,
    #[command(flatten)]
    heads: HeadArgs,
    #[command(flatten)]
    execution: ExecutionArgs,
    #[command(flatten)]
    serving: ServingArgs,
}

/// How requests are served.
#[derive(Debug, Args)]
#[command(next_help_heading = "Server options")]
struct ServingArgs {
    /// Address and port to listen on; port 0 takes a free one. Other machines reach the server only if this is not a loopback address
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8000")]
    listen: SocketAddr,
    /// Maximum number of images per batch
    #[arg(long, value_name = "COUNT", default_value_t = 32, value_parser = count(4096))]
    max_batch: u32,
    /// Maximum time for which an image waits for others to fill its batch, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 2)]
    max_wait: u64,
    /// Maximum number of images that wait beside those of a batch [default: as many as in a batch]; further requests are answered with status 429
    #[arg(long, value_name = "COUNT", value_parser = count(1 << 20))]
    queue: Option<u32>,
    /// Maximum size of a request's body, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 32, value_parser = count(4095))]
    max_body: u32,
    /// Maximum number of open connections
    #[arg(long, value_name = "COUNT", default_value_t = 1000, value_parser = count(1 << 20))]
    max_connections: u32,
    /// Maximum time for a request's body to arrive, and again for its answer, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = count(86400))]
    timeout: u32,
    /// Time to finish requests after SIGTERM or Ctrl-C, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = count(86400))]
    drain: u32,
    /// Require the token in this file: `Authorization: Bearer TOKEN` [default: the token in VITRAUX_TOKEN, if that is set]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Form of the log on standard error
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

impl Serve {
    /// Starts the log.
    pub fn log(&self, quiet: bool, filter: &str) -> Result<()> {
        // Everything that is said goes to the log.
        be_quiet(true);
        let own = if quiet { "error" } else { "info" };
        self.serving.log_format.start(&format!("{filter},vitraux_cli={own}"))
    }

    pub fn run(self) -> Result<()> {
        let token = self.serving.token()?;
        let batching = self.serving.batching();
        let listen = self.serving.listen;
        // An address in use is reported before models are loaded.
        let listener = std::net::TcpListener::bind(listen).map_err(|error| format!("--listen {listen}: {}", text(&error)))?;
        listener.set_nonblocking(true)?;
        let models = self.load()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let metrics = Metrics::new();
        let shared = Shared {
            batching,
            decoders: Arc::new(Semaphore::new(vitraux::low_level::cpu::threads())),
            time: self.serving.time(),
            allow_nan: self.execution.allows_nan(),
        };
        let models = models.into_iter().map(|(name, model)| {
            let of_model = metrics.of_model(&name);
            Arc::new(Served::new(name, model, of_model, shared.clone()))
        });
        let models: Vec<Arc<Served>> = models.collect();
        let server = Arc::new(Server {
            cold: AtomicUsize::new(models.len()),
            models,
            bodies: Bodies::new((self.serving.max_body as usize) << 20, self.serving.time()),
            metrics,
            token,
            is_ending: AtomicBool::new(false),
            is_lost: AtomicBool::new(false),
        });
        let outcome = runtime.block_on(self.serve(&server, listener));
        // Threads that still decode are not waited for.
        runtime.shutdown_background();
        outcome
    }

    /// Loads the models, each with its name.
    fn load(&self) -> Result<Vec<(String, Model)>> {
        let chosen: Vec<(Option<String>, Option<PathBuf>)> = match self.model.as_slice() {
            [] => vec![(None, None)],
            all => all.iter().map(|text| split(text)).collect(),
        };
        if chosen.len() > 1 && !self.heads.files().is_empty() {
            return Err("--head: expected one --model, found several; start a server for each".into());
        }
        let mut models: Vec<(String, Model)> = Vec::new();
        for (name, model) in chosen {
            let arguments = self.opening.of(model);
            let name = match name {
                Some(name) => name,
                None => arguments.chosen()?.map_or_else(|| Ok(BUILT_IN.to_owned()), |model| own_name(&model))?,
            };
            if models.iter().any(|(other, _)| *other == name) {
                return Err(format!("--model: two models are named {name}; give one another name, as in --model NAME=MODEL").into());
            }
            let checkpoint = self.heads.apply(arguments.open()?)?;
            preprocess_of(&checkpoint)?;
            let model = self.execution.load(checkpoint)?;
            warn_if_assumed(model.preprocess());
            tracing::info!(model = name, device = %model.device(), precision = %model.precision(), "loaded");
            models.push((name, model));
        }
        Ok(models)
    }

    /// Serves requests until a signal, or until a device is lost.
    async fn serve(&self, server: &Arc<Server>, listener: std::net::TcpListener) -> Result<()> {
        let listener = TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        if !address.ip().is_loopback() && server.token.is_none() {
            tracing::warn!("other machines can use the server without a token; --token-file sets one");
        }
        let (lost, mut loss) = watch::channel(None);
        // Connections are accepted while the first passes are compiled, so that probes are answered.
        let workers = server.models.iter().map(|served| {
            let (served, server, lost) = (served.clone(), server.clone(), lost.clone());
            std::thread::Builder::new().name(format!("model {}", served.name)).spawn(move || {
                let ready = || {
                    if server.cold.fetch_sub(1, Ordering::AcqRel) == 1 {
                        tracing::info!(url = format!("http://{address}/"), "ready");
                    }
                };
                if let Err(error) = served.work(ready) {
                    server.is_lost.store(true, Ordering::Release);
                    lost.send_replace(Some(format!("{error:?}")));
                }
            })
        });
        let workers = workers.collect::<std::io::Result<Vec<_>>>()?;
        let connections = Connections { most: self.serving.max_connections as usize, drain: Duration::from_secs(self.serving.drain.into()) };
        let mut signals = Signals::new()?;
        let stop = async {
            tokio::select! {
                name = signals.next() => tracing::info!(signal = name, "finishing the requests that have begun"),
                _ = loss.wait_for(Option::is_some) => tracing::error!("a device is lost; the server ends"),
            }
            server.is_ending.store(true, Ordering::Release);
            // A second signal ends the process at once.
            tokio::spawn(async move {
                signals.next().await;
                std::process::exit(super::Interrupted::CODE.into());
            });
        };
        let is_whole = connections.serve(listener, server::router(server.clone()), stop).await;
        server.models.iter().for_each(|served| served.queue.close());
        if let Some(error) = lost.borrow().clone() {
            return Err(error.into());
        }
        if !is_whole {
            return Err(format!("requests were cut off: they took longer than --drain {} s", self.serving.drain).into());
        }
        for worker in workers {
            tokio::task::spawn_blocking(move || worker.join()).await?.map_err(|_| "a thread of a model panicked")?;
        }
        tracing::info!("ended");
        Ok(())
    }
}

impl ServingArgs {
    fn batching(&self) -> Batching {
        let queue = self.queue.unwrap_or(self.max_batch) as usize;
        Batching { max_batch: self.max_batch as usize, max_wait: Duration::from_millis(self.max_wait), queue }
    }

    fn time(&self) -> Duration {
        Duration::from_secs(self.timeout.into())
    }

    fn token(&self) -> Result<Option<Token>> {
        match &self.token_file {
            Some(file) => Token::read(file).map(Some),
            None => Ok(std::env::var("VITRAUX_TOKEN").ok().filter(|token| !token.is_empty()).map(|token| Token::new(&token))),
        }
    }
}

/// Signals that end the server.
struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> Result<Signals> {
        Ok(Signals {
            #[cfg(unix)]
            terminate: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?,
        })
    }

    /// Waits for a signal. Returns its name.
    async fn next(&mut self) -> &'static str {
        #[cfg(unix)]
        tokio::select! {
            _ = tokio::signal::ctrl_c() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
        #[cfg(not(unix))]
        {
            let _ = tokio::signal::ctrl_c().await;
            "Ctrl-C"
        }
    }
}

/// Splits `NAME=MODEL`; a path may contain a = itself.
fn split(text: &str) -> (Option<String>, Option<PathBuf>) {
    match text.split_once('=') {
        Some((name, model)) if !name.is_empty() && !name.contains(['/', '\\']) && !Path::new(text).exists() => {
            (Some(name.to_owned()), Some(model.into()))
        }
        _ => (None, Some(text.into())),
    }
}

/// Returns the name of a model by its place: the last part of its path or hub name, without revision.
fn own_name(model: &Path) -> Result<String> {
    let place = if model.exists() { model.canonicalize()? } else { model.to_owned() };
    let name = if place.is_file() { place.file_stem() } else { place.file_name() };
    let name = name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    match name.split('@').next() {
        Some(name) if !name.is_empty() => Ok(name.to_owned()),
        _ => Err(format!("--model {}: expected a name for it, as in --model NAME={}", model.display(), model.display()).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_named_by_option_or_place() {
        let parts = |text: &str| split(text);
        assert_eq!(parts("a=b/c"), (Some("a".to_owned()), Some("b/c".into())));
        assert_eq!(parts("b/c=d"), (None, Some("b/c=d".into())));
        assert_eq!(parts("digits"), (None, Some("digits".into())));
        assert_eq!(own_name(Path::new("facebook/dinov2-small@v1")).expect("a name"), "dinov2-small");
        assert!(own_name(Path::new("/")).is_err());
    }
}
