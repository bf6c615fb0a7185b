//! Timestamp queries at the begin and end of passes.

use super::context::{Gpu, create};

/// A set of timestamps and the buffers for their readback.
#[derive(Debug)]
pub(super) struct Timestamps {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    readable: wgpu::Buffer,
}

impl Timestamps {
    /// Creates room for `count` timestamps.
    pub fn new(gpu: &Gpu, count: u32) -> Timestamps {
        let buffer = |usage| create(gpu, "timestamps", u64::from(count) * 8, usage, false);
        Timestamps {
            queries: gpu.device.create_query_set(&wgpu::QuerySetDescriptor { label: Some("timestamps"), ty: wgpu::QueryType::Timestamp, count }),
            resolved: buffer(wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC),
            readable: buffer(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST),
        }
    }

    /// Returns the timestamp writes of a pass: the indices for its begin and end.
    pub fn of_pass(&self, begin: Option<u32>, end: Option<u32>) -> Option<wgpu::ComputePassTimestampWrites<'_>> {
        (begin.is_some() || end.is_some()).then_some(wgpu::ComputePassTimestampWrites {
            query_set: &self.queries,
            beginning_of_pass_write_index: begin,
            end_of_pass_write_index: end,
        })
    }

    /// Records the copy of the timestamps to the readable buffer.
    pub fn encode_read(&self, encoder: &mut wgpu::CommandEncoder) {
        encoder.resolve_query_set(&self.queries, 0..(self.resolved.size() / 8) as u32, &self.resolved, 0);
        encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.readable, 0, self.resolved.size());
    }

    /// Returns the buffer to map.
    pub fn readable(&self) -> &wgpu::Buffer {
        &self.readable
    }

    /// Returns the seconds from each even-numbered timestamp to the next one. The buffer must be mapped, and is unmapped.
    pub fn seconds(&self, period: f32) -> Result<Vec<f64>, wgpu::MapRangeError> {
        let range = self.readable.slice(..).get_mapped_range()?;
        let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&range);
        drop(range);
        self.readable.unmap();
        Ok(ticks.chunks(2).map(|ticks| ticks[1].saturating_sub(ticks[0]) as f64 * f64::from(period) * 1e-9).collect())
    }
}
