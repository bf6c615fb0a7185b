//! The thread of a model, which computes batches.

use super::failure::Failure;
use super::queue::{Job, Row};
use super::served::ServedModel;
use crate::commands::guard::guarded;
use std::sync::Arc;
use std::time::{Duration, Instant};
use vitraux::{Classification, Error, Outputs, Session, Tensor};

/// Computes batches until the queue is closed. Calls `ready` once the passes of single images and of full batches are compiled, of the outputs that the
/// endpoints for images need.
///
/// # Errors
/// If the device is lost. Images that wait are not answered then.
pub fn run(served: &ServedModel, ready: impl FnOnce()) -> vitraux::Result<()> {
    let result = serve(served, ready);
    if result.is_err() {
        served.queue.abandon();
    }
    result
}

fn serve(served: &ServedModel, ready: impl FnOnce()) -> vitraux::Result<()> {
    let mut session = served.model.session();
    warm_up(served, &mut session)?;
    if !served.queue.is_closed() {
        ready();
    }
    while let Some(jobs) = served.queue.next_batch() {
        if let Err(error @ Error::DeviceLost { .. }) = compute(served, &mut session, jobs) {
            return Err(error);
        }
    }
    Ok(())
}

/// Compiles the first passes, unless the server ends before.
fn warm_up(served: &ServedModel, session: &mut Session) -> vitraux::Result<()> {
    let of_vectors = served.vectors.iter().map(|vectors| vec![vectors.output().to_owned()]);
    let outputs = std::iter::once(Classification::outputs(served.config())).filter(|names| !names.is_empty()).chain(of_vectors);
    for outputs in outputs {
        let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
        for images in [1, served.queue.batching().max_batch] {
            if served.queue.is_closed() {
                return Ok(());
            }
            let pass = guarded(|| served.blank().and_then(|image| session.forward_blocking(&Tensor::stack(vec![image; images])?, &outputs)));
            // Requests that hit the same error report it.
            match pass {
                Some(Ok(_)) => {}
                Some(Err(error @ Error::DeviceLost { .. })) => return Err(error),
                Some(Err(error)) => tracing::warn!(model = served.name, images, error = format!("{error:?}"), "a first pass failed"),
                None => {
                    tracing::warn!(model = served.name, images, "a first pass panicked");
                    *session = served.model.session();
                }
            }
        }
    }
    Ok(())
}

/// Computes a batch and answers for each image.
///
/// # Errors
/// That of the pass, after the answers.
fn compute(served: &ServedModel, session: &mut Session, jobs: Vec<Job>) -> vitraux::Result<()> {
    let start = Instant::now();
    let waits: Vec<Duration> = jobs.iter().map(|job| start - job.arrival).collect();
    let (images, outputs) = (jobs.len(), jobs[0].outputs.clone());
    let (pixel_values, answers): (Vec<Tensor>, Vec<_>) = jobs.into_iter().map(|job| (job.pixel_values, (job.answer, job.place))).unzip();
    let names: Vec<&str> = outputs.iter().map(String::as_str).collect();
    let pass = guarded(|| session.forward_blocking(&Tensor::stack(pixel_values)?, &names));
    let duration = start.elapsed();
    observe(served, &waits, duration);
    let (outputs, result): (Result<Arc<Outputs>, Failure>, _) = match pass {
        Some(Ok(outputs)) => (Ok(Arc::new(outputs)), Ok(())),
        Some(Err(error)) => {
            let failure = Failure::of_pass(&error);
            if failure.status.is_server_error() {
                tracing::error!(error = format!("{error:?}"), images, "a batch failed");
            }
            (Err(failure), Err(error))
        }
        None => {
            tracing::error!(images, "a batch panicked");
            *session = session.model().session();
            (Err(Failure::internal()), Ok(()))
        }
    };
    for ((index, (answer, place)), wait) in answers.into_iter().enumerate().zip(waits) {
        // Before the answer, upon which the client may send its next image.
        drop(place);
        // A client that has gone needs no answer.
        let _ = answer.send(outputs.clone().map(|outputs| Row { outputs, index, wait, pass: duration }));
    }
    result
}

/// Counts a batch by the time that each of its images waited.
fn observe(served: &ServedModel, waits: &[Duration], duration: Duration) {
    served.queue.note_duration(duration);
    waits.iter().for_each(|wait| served.metrics.queue_seconds.observe(wait.as_secs_f64()));
    served.metrics.device_seconds.observe(duration.as_secs_f64());
    served.metrics.batch_images.observe(waits.len() as f64);
    served.statistics.add_batch();
}
