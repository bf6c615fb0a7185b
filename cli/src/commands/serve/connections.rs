//! The loop that accepts connections, and their end.

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;

/// Time in which a client must send the headers of a request, also of the next one on an open connection.
const HEADER_TIME: Duration = Duration::from_secs(30);

/// Time in which a client must receive some more of an answer.
const WRITE_TIME: Duration = Duration::from_secs(10);

/// Pause before the next attempt when the system cannot accept a connection, for example when all file descriptors are in use.
const PAUSE: Duration = Duration::from_millis(50);

/// Time for which the requests of new connections may arrive after the server was told to end. A connection without a request is closed then.
const SETTLING_TIME: Duration = Duration::from_millis(200);

/// Connections that the system may hold until they are accepted: clients come in crowds.
const BACKLOG: u32 = 1024;

/// Bytes that the system takes of an answer before the client reads them. It asks for more when a third is free: with the megabytes that it allows
/// itself, a client that reads slowly but steadily would be taken for one that does not read.
const SEND_BUFFER: u32 = 256 << 10;

/// Starts to listen.
pub fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A server that is started again would have to wait otherwise. On Windows the option allows two servers on one port.
    #[cfg(not(windows))]
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

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
            let mut stream = TimeoutStream::new(stream);
            stream.set_write_timeout(Some(WRITE_TIME));
            let mut builder = http1::Builder::new();
            // Half of a request's headers does not hold up the end.
            builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIME.min(self.drain / 2));
            let connection = builder.serve_connection(TokioIo::new(Box::pin(stream)), TowerToHyperService::new(router.clone()));
            let connection = graceful.watch(connection);
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
