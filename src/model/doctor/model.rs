//! Compares every tensor of a model on a device and on the CPU.

use super::Exchange;
use super::judge::{Step, apart, steps};
use crate::data::config::Size;
use crate::data::error::Result;
use crate::data::record::{Command, Recording};
use crate::data::tensor::Tensor;
use crate::execution::cpu;
use crate::execution::device::Device;
use crate::model::forward::output_names;
use crate::model::{ModelBuilder, Traced};
use crate::operations::cases::Rng;

/// Results of a device on a model.
#[derive(Clone, Debug)]
pub struct ModelReport {
    /// Model name.
    pub model: String,
    /// Every computed tensor, in order.
    pub tensors: Vec<TensorReport>,
}

/// Result for one tensor of a model.
#[derive(Clone, Debug)]
pub struct TensorReport {
    /// The call that computes the tensor, compared with its twin. Both read the same inputs, so errors do not accumulate.
    pub step: Step,
    /// Names of the model outputs that this tensor provides.
    pub outputs: Vec<String>,
    /// Largest difference from an independent CPU pass, including the accumulated error of all earlier calls; `None` for integers.
    pub apart: Option<f64>,
}

impl ModelReport {
    /// Returns the first tensor whose error exceeds its bound.
    pub fn first_divergence(&self) -> Option<&TensorReport> {
        self.tensors.iter().find(|tensor| !tensor.step.is_right())
    }
}

/// Runs a model on generated input, on the builder's device and on the CPU.
///
/// # Errors
/// Same as [`ModelBuilder::load`] and [`Session::forward`](crate::Session::forward); also [`Error::Argument`](crate::Error::Argument) if the device
/// is the CPU, which is the reference.
pub fn check_model(builder: ModelBuilder, size: Size, exchange: Exchange<'_>) -> Result<ModelReport> {
    let config = builder.checkpoint().config.clone();
    let shape = config.input_shape(1, size)?;
    let input = Tensor::new(shape.clone(), Rng::new("doctor").units(shape.iter().product()))?;
    // Attention probabilities are left out: their kernels are checked by cases, and each takes B × H × N × N values.
    let names: Vec<String> = output_names(&config).into_iter().filter(|name| !name.trim_start_matches("text.").starts_with("attn.")).collect();
    let wanted: Vec<&str> = names.iter().map(String::as_str).collect();
    let model = builder.clone().load_blocking()?;
    let twin = builder.untuned_on(Device::cpu()).layout_of(model.device().capabilities()).load_blocking()?;
    let Traced { recording, got, inputs, weights } = model.session().trace_beside(&twin, &input, &wanted, exchange)?;
    let values: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
    let on_the_cpu = cpu::Plan::new(recording.traced(), weights.clone()).run(&values);
    let steps = steps(&recording, cpu::Plan::new(recording.clone(), weights), &values, &got);
    let outputs = outputs(&recording);
    let tensors = steps.into_iter().zip(recording.dispatches()).enumerate().map(|(i, (step, dispatch))| {
        let view = dispatch.written();
        let [got, own] = [&got[i], &on_the_cpu[i]].map(|whole| &whole[view.offset..view.offset + view.len]);
        let is_of_numbers = !recording.precision_of(view.buf).is_packed();
        TensorReport { step, outputs: outputs[i].clone(), apart: is_of_numbers.then(|| apart(got, own)) }
    });
    Ok(ModelReport { model: config.name, tensors: tensors.collect() })
}

/// Returns, for each dispatch, the outputs whose values it wrote.
fn outputs(recording: &Recording) -> Vec<Vec<String>> {
    let mut outputs = vec![Vec::new(); recording.dispatches().count()];
    let mut last_writer = vec![None; recording.buffers().len()];
    let mut next = 0;
    for command in recording.commands() {
        match command {
            Command::Dispatch(dispatch) => {
                last_writer[dispatch.written().buf.index()] = Some(next);
                next += 1;
            }
            Command::Save { from, output } => {
                if let Some(writer) = last_writer[from.index()] {
                    outputs[writer].push(recording.outputs()[*output].name.clone());
                }
            }
        }
    }
    outputs
}
