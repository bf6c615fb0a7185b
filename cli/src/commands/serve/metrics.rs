//! Metrics for Prometheus.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Upper bounds of times in seconds: 0.5 ms to 33 s.
const SECONDS: [f64; 17] = [5e-4, 1e-3, 2e-3, 4e-3, 8e-3, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384, 32.768];

/// Upper bounds of batch sizes.
const IMAGES: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// All metrics.
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    request_seconds: Family<RouteLabels, Histogram>,
    rejected: Family<ModelLabels, Counter>,
    queue: Family<ModelLabels, Gauge>,
    queue_seconds: Family<ModelLabels, Histogram>,
    decode_seconds: Family<ModelLabels, Histogram>,
    device_seconds: Family<ModelLabels, Histogram>,
    batch_images: Family<ModelLabels, Histogram>,
}

/// Metrics of a model.
#[derive(Clone)]
pub struct ModelMetrics {
    pub rejected: Counter,
    pub queue: Gauge,
    pub queue_seconds: Histogram,
    pub decode_seconds: Histogram,
    pub device_seconds: Histogram,
    pub batch_images: Histogram,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ModelLabels {
    model: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RouteLabels {
    route: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    status: u16,
}

impl Metrics {
    pub fn new() -> Metrics {
        let seconds = || Histogram::new(SECONDS);
        let mut metrics = Metrics {
            registry: Registry::with_prefix("vitraux"),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(seconds),
            rejected: Family::default(),
            queue: Family::default(),
            queue_seconds: Family::new_with_constructor(seconds),
            decode_seconds: Family::new_with_constructor(seconds),
            device_seconds: Family::new_with_constructor(seconds),
            batch_images: Family::new_with_constructor(|| Histogram::new(IMAGES)),
        };
        let registry = &mut metrics.registry;
        registry.register("requests", "Requests by route and status", metrics.requests.clone());
        registry.register_with_unit("request_duration", "From the request's headers to the answer", Unit::Seconds, metrics.request_seconds.clone());
        registry.register("images_rejected", "Images for which the queue had no place", metrics.rejected.clone());
        registry.register("queue_images", "Images that wait for a batch", metrics.queue.clone());
        registry.register_with_unit("queue_wait", "Time that an image waits for its batch", Unit::Seconds, metrics.queue_seconds.clone());
        registry.register_with_unit("decode", "Decoding and preprocessing of an image", Unit::Seconds, metrics.decode_seconds.clone());
        registry.register_with_unit("device", "Forward pass of a batch", Unit::Seconds, metrics.device_seconds.clone());
        registry.register("batch_images", "Images per batch", metrics.batch_images.clone());
        metrics
    }

    /// Returns the metrics of a model.
    pub fn of_model(&self, model: &str) -> ModelMetrics {
        let labels = ModelLabels { model: model.to_owned() };
        ModelMetrics {
            rejected: self.rejected.get_or_create(&labels).clone(),
            queue: self.queue.get_or_create(&labels).clone(),
            queue_seconds: self.queue_seconds.get_or_create(&labels).clone(),
            decode_seconds: self.decode_seconds.get_or_create(&labels).clone(),
            device_seconds: self.device_seconds.get_or_create(&labels).clone(),
            batch_images: self.batch_images.get_or_create(&labels).clone(),
        }
    }

    /// Counts a request.
    pub fn count(&self, route: &str, status: u16, seconds: f64) {
        self.requests.get_or_create(&RequestLabels { route: route.to_owned(), status }).inc();
        self.request_seconds.get_or_create(&RouteLabels { route: route.to_owned() }).observe(seconds);
    }

    /// Returns all metrics in the text format of OpenMetrics.
    pub fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a string takes everything");
        text
    }
}
