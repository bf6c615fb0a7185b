//! An HTTP server for models.
//!
//! A request's body is read within limits ([`body`]); its images take places in the queue of their model, or are rejected; they are decoded on a bounded
//! number of threads ([`served`]); they wait for a batch ([`queue`]), which a thread per model computes ([`worker`]).

mod auth;
mod body;
mod connections;
mod cores;
mod description;
mod failure;
mod image_files;
mod images;
mod logs;
mod memory;
mod metrics;
mod names;
mod options;
mod output_memory;
mod page;
mod protocol;
mod queue;
mod routes;
mod served;
mod signals;
mod state;
mod statistics;
mod worker;

use super::images::{ImageLimitArgs, preprocess_of};
use super::messages::{log_messages, text};
use super::model::{BUILT_IN, OpeningArgs};
use super::{ExecutionArgs, HeadArgs, Logged, Result, warn_if_assumed};
use body::Bodies;
use clap::Args;
use connections::Connections;
use cores::Cores;
pub use logs::Log;
use memory::Memory;
use metrics::Metrics;
use names::{own_name, split};
use options::ServingArgs;
pub use protocol::reads as reads_request;
use served::{ServedModel, Shared};
use signals::Signals;
use state::Server;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use vitraux::Model;

/// Path of the statistics of all models, below that of models.
const STATISTICS: &str = "stats";

/// Time for the threads of models to end, once no request is left.
const END_TIME: Duration = Duration::from_secs(2);

/// Bodies and outputs of the largest size that may be in memory at a time.
const LARGEST_AT_A_TIME: usize = 8;

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
    limit: ImageLimitArgs,
    #[command(flatten)]
    execution: ExecutionArgs,
    #[command(flatten)]
    serving: ServingArgs,
}

impl Serve {
    /// Starts the log, which ends with what is returned.
    pub fn log(&self, quiet: bool, filter: &str) -> Result<Log> {
        log_messages();
        let own = if quiet { "error" } else { "info" };
        self.serving.log_format.start(&format!("{filter},vitraux_cli={own}"))
    }

    pub fn run(self) -> Result<()> {
        let token = self.serving.token()?;
        let batching = self.serving.batching();
        let listen = self.serving.listen;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        // An address in use is reported before models are loaded.
        let listener = runtime.block_on(async { connections::listen(listen) }).map_err(|error| format!("--listen {listen}: {}", text(&error)))?;
        let models = self.load()?;
        let metrics = Metrics::new();
        let threads = vitraux::low_level::cpu::threads();
        let (largest, time) = (self.serving.largest(), self.serving.time());
        let memory = Arc::new(Memory::new(LARGEST_AT_A_TIME * largest));
        let shared = Shared {
            batching,
            cores: Cores::new(threads),
            decoders: Cores::new(threads),
            memory: memory.clone(),
            largest,
            time,
            allow_nan: self.execution.allows_nan(),
            limit: self.limit,
            chosen_size: self.opening.image_size(),
        };
        let models = models.into_iter().map(|(name, model)| {
            let metrics = metrics.of_model(&name);
            Arc::new(ServedModel::new(name, model, metrics, shared.clone()))
        });
        let models: Vec<Arc<ServedModel>> = models.collect();
        let server = Arc::new(Server {
            cold: AtomicUsize::new(models.len()),
            models,
            bodies: Bodies { largest, time, memory },
            metrics,
            token,
            is_ending: AtomicBool::new(false),
            is_lost: AtomicBool::new(false),
        });
        let outcome = runtime.block_on(self.serve(&server, listener));
        // Threads that still work for clients that have gone are not waited for.
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
            if name == STATISTICS {
                return Err(format!("--model: {name} is a path of the protocol; give the model another name, as in --model NAME=MODEL").into());
            }
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
    async fn serve(&self, server: &Arc<Server>, listener: TcpListener) -> Result<()> {
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
                if let Err(error) = worker::run(&served, ready) {
                    server.is_lost.store(true, Ordering::Release);
                    lost.send_replace(Some(format!("{error:?}")));
                }
            })
        });
        let workers = workers.collect::<std::io::Result<Vec<_>>>()?;
        let drain = Duration::from_secs(self.serving.drain.into());
        let connections = Connections { most: self.serving.max_connections as usize, drain };
        let mut signals = Signals::new()?;
        let stop = async {
            tokio::select! {
                name = signals.next() => tracing::info!(signal = name, "shutting down"),
                _ = loss.wait_for(Option::is_some) => tracing::error!("device lost; shutting down"),
            }
            server.is_ending.store(true, Ordering::Release);
            // A second signal ends the process at once.
            tokio::spawn(async move {
                signals.next().await;
                std::process::exit(super::Interrupted::CODE.into());
            });
        };
        let all_finished = connections.serve(listener, routes::router(server.clone()), stop).await;
        server.models.iter().for_each(|served| served.queue.close());
        if let Some(error) = lost.borrow().clone() {
            tracing::error!(error, "device lost");
            return Err(Logged.into());
        }
        if !all_finished {
            tracing::error!("requests were cut off: they took longer than --drain {} s", self.serving.drain);
            return Err(Logged.into());
        }
        // A pass that nobody waits for any more, such as one that warms up, may take longer.
        let end = tokio::task::spawn_blocking(move || workers.into_iter().try_for_each(std::thread::JoinHandle::join));
        if let Ok(ended) = tokio::time::timeout(END_TIME, end).await {
            ended?.map_err(|_| "a thread of a model panicked")?;
        }
        tracing::info!("stopped");
        Ok(())
    }
}
