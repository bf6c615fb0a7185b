//! The loop that accepts connections, and their end.

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// Time in which a client must send the headers of a request, also of the next one on an open connection.
const HEADER_TIME: Duration = Duration::from_secs(30);

/// Pause before the next attempt when the system cannot accept a connection, for example when all file descriptors are in use.
const PAUSE: Duration = Duration::from_millis(50);

/// Time for which the requests of new connections may arrive after the server was told to end. A connection without a request is closed then.
const SETTLING_TIME: Duration = Duration::from_millis(200);

/// Limits of connections.
pub struct Connections {
    /// Maximum number of open connections; more wait until one is closed.
    pub most: usize,
    /// Time that requests have to finish after the server was told to end.
    pub drain: Duration,
}

impl Connections {
    /// Serves connections until `stop` is ready; then finishes the requests that have begun. Returns whether all were finished in time.
    pub async fn serve(&self, listener: TcpListener, router: Router, stop: impl Future<Output = ()>) -> bool {
        let free = Arc::new(Semaphore::new(self.most));
        let graceful = GracefulShutdown::new();
        let begin = |stream: TcpStream, place| {
            // Answers are small, and sent at once.
            let _ = stream.set_nodelay(true);
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIME);
            let connection = graceful.watch(builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.clone())));
            tokio::spawn(async move {
                // A connection that breaks concerns only its client.
                let _ = connection.await;
                drop(place);
            });
        };
        let accept = async || {
            let place = free.clone().acquire_owned().await.expect("never closed");
            match listener.accept().await {
                Ok((stream, _)) => begin(stream, place),
                Err(error) => {
                    tracing::warn!(%error, "no connection was accepted");
                    sleep(PAUSE).await;
                }
            }
        };
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = accept() => {}
                () = &mut stop => break,
            }
        }
        // Clients that have connected already are served.
        let _ = timeout(SETTLING_TIME, async {
            loop {
                accept().await
            }
        })
        .await;
        drop(listener);
        timeout(self.drain, graceful.shutdown()).await.is_ok()
    }
}
