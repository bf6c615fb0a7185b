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

pub static ATTENTION_SUBGROUP: Kernel = Kernel {
    name: "attention_subgroup",
    wgsl: include_str!("../../shaders/attention_subgroup.wgsl"),
    params: Params::FIELDS,
    bindings: &[read(1, "qkv"), write(2, "y")],
    needs: Needs::LLVMPIPE,
    twin: twin::attention,
};

/// Records multi-head attention (Vaswani et al. 2017, section 3.2) in the way that suits the device, from packed queries, keys and
/// values: qkv `[B, N, 3·C]`, y `[B, queries, C]`, C = heads · D, for as many of the first tokens as y has rows. With a
/// mask `[B, N]`, tokens whose mask is not 0 are no keys; each sequence needs one that is.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) if it does not fit the device.
pub fn attention(recording: &mut Recording, label: String, qkv: Buf, heads: usize, mask: Option<Buf>, y: Buf) -> Result<()> {
    let &[batch, queries, width] = recording.shape(y) else { panic!("{label}: y is [B, queries, C]") };
    let tokens = recording.shape(qkv)[1];
    assert_eq!(recording.shape(qkv), [batch, tokens, 3 * width], "{label}: qkv");
    assert!(queries <= tokens, "{label}: {queries} queries of {tokens} tokens");
    assert_eq!(width % heads, 0, "{label}: {heads} heads of {width}");
    let head = width / heads;
    if let Some(mask) = mask {
        assert_eq!(recording.shape(mask), [batch, tokens], "{label}: mask");
    }
    let mut ladder = vec![if mask.is_some() { &ATTENTION_MASKED } else { &ATTENTION }];
    if mask.is_none() && head.is_multiple_of(4) && head <= 128 {
        ladder.insert(0, &ATTENTION_SUBGROUP);
    }
    let kernel = recording.choose_kernel(&ladder);
    let (spec, tile) = if std::ptr::eq(kernel, &ATTENTION_SUBGROUP) {
        (vec![("HEAD", size(head))], 40)
    } else {
        let keys = tile_keys(head, recording.capabilities().workgroup_bytes).ok_or_else(|| {
            Error::Limit(format!(
                "{label}: heads of width {head} need {} bytes of workgroup memory, this device has {}; use --device cpu",
                key_bytes(head),
                recording.capabilities().workgroup_bytes
            ))
        })?;
        (vec![("HEAD", size(head)), ("KEYS", keys)], 64)
    };
    let params = Params { tokens: size(tokens), queries: size(queries), heads: size(heads), scale: (head as f32).sqrt().recip() };
    recording.dispatch(Dispatch {
        kernel,
        spec: Spec(spec),
        params: bytemuck::bytes_of(&params).to_vec(),
        flops: 4 * (batch * heads * queries * tokens * head) as u64,
        views: [Some(qkv), mask, Some(y)].into_iter().flatten().map(|buf| recording.all(buf)).collect(),
        grid: [size(queries.div_ceil(tile)), size(heads), size(batch)],
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
