use super::size;
use crate::capabilities::Needs;
use crate::cpu::attention::{self as twin, Params};
use crate::error::{Error, Result};
use crate::record::{Buf, Dispatch, Kernel, Recording, Spec, read, write};

pub static ATTENTION: Kernel = Kernel {
    name: "attention",
    wgsl: include_str!("../../shaders/attention.wgsl"),
    params: Params::FIELDS,
    bindings: &[read(1, "qkv"), write(2, "y")],
    needs: Needs::NOTHING,
    twin: twin::attention,
};

pub static ATTENTION_MASKED: Kernel = Kernel {
    name: "attention_masked",
    wgsl: include_str!("../../shaders/attention_masked.wgsl"),
    params: Params::FIELDS,
    bindings: &[read(1, "qkv"), read(2, "mask"), write(3, "y")],
    needs: Needs::NOTHING,
    twin: twin::attention_masked,
};

/// Records multi-head attention (Vaswani et al. 2017, section 3.2) from packed queries, keys and
/// values: qkv `[B, N, 3·C]`, y `[B, N, C]`, C = heads · D. With a mask `[B, N]`, tokens whose mask is not 0 are no
/// keys; each sequence needs one that is.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
pub fn attention(recording: &mut Recording, label: String, qkv: Buf, heads: usize, mask: Option<Buf>, y: Buf) -> Result<()> {
    let &[batch, tokens, width] = recording.shape(y) else { panic!("{label}: y is [B, N, C]") };
    assert_eq!(recording.shape(qkv), [batch, tokens, 3 * width], "{label}: qkv");
    assert_eq!(width % heads, 0, "{label}: {heads} heads of {width}");
    let head = width / heads;
    let keys = tile_keys(head, recording.capabilities().workgroup_bytes).ok_or_else(|| {
        Error::Limit(format!(
            "{label}: heads of width {head} need {} bytes of workgroup memory, this device has {}; use --device cpu",
            key_bytes(head),
            recording.capabilities().workgroup_bytes
        ))
    })?;
    if let Some(mask) = mask {
        assert_eq!(recording.shape(mask), [batch, tokens], "{label}: mask");
    }
    recording.dispatch(Dispatch {
        kernel: if mask.is_some() { &ATTENTION_MASKED } else { &ATTENTION },
        spec: Spec(vec![("HEAD", size(head)), ("KEYS", keys)]),
        params: bytemuck::bytes_of(&Params { tokens: size(tokens), heads: size(heads), scale: (head as f32).sqrt().recip() }).to_vec(),
        views: [Some(qkv), mask, Some(y)].into_iter().flatten().map(|buf| recording.all(buf)).collect(),
        grid: [size(tokens.div_ceil(64)), size(heads), size(batch)],
        label,
    })
}

/// Workgroup memory for the key and the value of one token.
fn key_bytes(head: usize) -> usize {
    2 * head.div_ceil(4) * 16
}

/// Keys in a tile: as many as fit in 16 KiB, which every device has, but no more than 32, whose
/// scores an invocation keeps in registers.
fn tile_keys(head: usize, workgroup_bytes: u32) -> Option<u32> {
    let memory = workgroup_bytes.min(16 * 1024) as usize;
    (0..=5).rev().map(|power| 1 << power).find(|&keys| keys as usize * key_bytes(head) <= memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_of_keys_fit_in_workgroup_memory() {
        assert_eq!(tile_keys(16, 32768), Some(32));
        assert_eq!(tile_keys(64, 32768), Some(32));
        assert_eq!(tile_keys(72, 32768), Some(16));
        assert_eq!(tile_keys(128, 32768), Some(16));
        assert_eq!(tile_keys(64, 4096), Some(8));
        assert_eq!(tile_keys(4096, 32768), None);
    }
}
