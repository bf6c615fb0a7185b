//! Images with grids of their own, as padded sequences of patches (Tschannen et al. 2025, SigLIP 2's NaFlex).

use super::forward::output_names;
use super::{Outputs, Session};
use crate::data::config::{Patches, Pooling, Size};
use crate::data::error::{Error, Result};
use crate::data::tensor::Tensor;

impl Session {
    /// Runs the model on flattened patches, `[B, N, patch height · patch width · channels]` with the channels last, as transformers' NaFlex processors make
    /// them. `grids` has the rows and columns of each image's patches; those behind them are padding.
    ///
    /// # Errors
    /// [`Error::Argument`] if the model does not take such patches, if a grid has more patches than there are, or fewer and the model pools them all; otherwise as [`Session::forward`].
    pub async fn forward_patches(&mut self, patches: &Tensor, grids: &[[usize; 2]], outputs: &[&str]) -> Result<Outputs> {
        let (patches, grids, outputs) = (patches.clone(), grids.to_vec(), super::session::owned(outputs));
        self.off_executor(async move |session: &mut Session| session.forward_patches_here(&patches, &grids, &outputs).await).await
    }

    /// Blocking version of [`Session::forward_patches`].
    ///
    /// # Errors
    /// Same as [`Session::forward_patches`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn forward_patches_blocking(&mut self, patches: &Tensor, grids: &[[usize; 2]], outputs: &[&str]) -> Result<Outputs> {
        pollster::block_on(self.forward_patches_here(patches, grids, &super::session::owned(outputs)))
    }

    async fn forward_patches_here(&mut self, patches: &Tensor, grids: &[[usize; 2]], outputs: &[String]) -> Result<Outputs> {
        let config = self.model().config();
        let (Size::Patches(count), Some(layout)) = (config.input_size(patches.shape())?, config.patches()) else {
            return Err(Error::argument("pixel_values", format!("{} takes images, not sequences of patches", config.name)));
        };
        let batch = patches.shape()[0];
        let fits = |grid: &[usize; 2]| grid[0].checked_mul(grid[1]).is_some_and(|patches| (1..=count).contains(&patches));
        if grids.len() != batch || !grids.iter().all(fits) {
            return Err(Error::argument("spatial_shapes", format!("expected {batch} grids of 1 to {count} patches, found {grids:?}")));
        }
        // The kernels of these poolings know of no padding.
        let counts_padding = matches!(config.pooling, Some(Pooling::MeanFrom(_) | Pooling::MaxFrom(_) | Pooling::MeanAndMaxFrom(_)));
        let is_pooled = |output: &String| output_names(config).iter().skip_while(|name| *name != "features").any(|name| name == output);
        if counts_padding && grids.iter().any(|grid| grid[0] * grid[1] < count) && outputs.iter().any(is_pooled) {
            let message = format!("{} pools all patches, and padding would count; expected grids of {count} patches, found {grids:?}", config.name);
            return Err(Error::argument("spatial_shapes", message));
        }
        let channels_first = channels_first(&patches.finite_values("pixel_values")?, layout);
        let input = Tensor::new(patches.shape(), channels_first)?;
        let (mut positions, mut padding) = (Vec::new(), Vec::new());
        let table = self.model().positions().table.as_ref().expect("images with grids of their own have positions");
        for grid in grids {
            let rows = table.at(*grid)?;
            let values = rows.finite_values("positions")?;
            positions.extend_from_slice(&values);
            for _ in grid[0] * grid[1]..count {
                // transformers gives padding the first position.
                positions.extend_from_slice(&values[..config.width]);
            }
            padding.extend((0..count).map(|n| f32::from(u8::from(n >= grid[0] * grid[1]))));
        }
        let positions = Tensor::new([batch, count, config.width], positions)?;
        let padding = Tensor::new([batch, count], padding)?;
        self.run(&[&input, &positions, &padding], Size::Patches(count), true, outputs).await
    }
}

/// Reorders patches `[.., height, width, channels]` to `[.., channels, height, width]`.
fn channels_first(values: &[f32], layout: &Patches) -> Vec<f32> {
    let (pixels, channels) = (layout.size[0] * layout.size[1], layout.channels);
    let of_patch = |patch: &[f32]| (0..channels * pixels).map(|i| patch[i % pixels * channels + i / pixels]).collect::<Vec<_>>();
    values.chunks(pixels * channels).flat_map(of_patch).collect()
}
