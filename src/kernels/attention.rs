use super::size;
use crate::capabilities::{Capabilities, Needs, Precision};
use crate::cpu::attention::{self as twin, Params};
use crate::error::{Error, Result};
use crate::record::{Buf, Class, Dispatch, Kernel, Recording, Spec, read, write};

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

pub static ATTENTION_COOP8: Kernel =
    Kernel { name: "attention_coop8", wgsl: include_str!("../../shaders/attention_coop8.wgsl"), needs: Needs::cooperative(8), ..ATTENTION_SUBGROUP };

pub static ATTENTION_COOP16: Kernel = Kernel {
    name: "attention_coop16",
    wgsl: include_str!("../../shaders/attention_coop16.wgsl"),
    needs: Needs::cooperative(16),
    ..ATTENTION_SUBGROUP
};

/// The ways to compute attention over heads of a width, the best first of those that a device can run.
pub(super) fn ladder(head: usize, is_masked: bool, precision: Precision, capabilities: &Capabilities) -> Vec<&'static Kernel> {
    if is_masked {
        return vec![&ATTENTION_MASKED];
    }
    let mut ladder = vec![&ATTENTION];
    if precision == Precision::F16 && cooperative_tile(head, capabilities).is_some() {
        let kernel = if capabilities.cooperative == 16 { &ATTENTION_COOP16 } else { &ATTENTION_COOP8 };
        // Where a processor imitates cooperative matrices, they are slower than what they are made of.
        ladder.insert(usize::from(capabilities.software), kernel);
    }
    if head.is_multiple_of(4) && head <= 128 {
        ladder.insert(0, &ATTENTION_SUBGROUP);
    }
    ladder
}

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
    let capabilities = *recording.capabilities();
    let ladder = ladder(head, mask.is_some(), recording.precision(), &capabilities);
    let class = Class::attention(batch * heads, [tokens, queries], head, recording.precision(), &capabilities);
    let kernel = recording.choose_kernel(Some(class), &ladder);
    let (mut spec, tile) = if std::ptr::eq(kernel, &ATTENTION_SUBGROUP) {
        (Vec::new(), 40)
    } else if kernel.needs.cooperative > 0 {
        let [subgroups, keys] = cooperative_tile(head, &capabilities).expect("it is in the ladder");
        let constants = vec![("LANES", capabilities.subgroup), ("SUBGROUPS", size(subgroups)), ("KEYS", size(keys))];
        (constants, subgroups * capabilities.cooperative as usize)
    } else {
        let keys = tile_keys(head, capabilities.workgroup_bytes).ok_or_else(|| {
            Error::Limit(format!(
                "{label}: heads of width {head} need {} bytes of workgroup memory, this device has {}; use --device cpu",
                key_bytes(head),
                capabilities.workgroup_bytes
            ))
        })?;
        (vec![("KEYS", keys)], 64)
    };
    spec.push(("HEAD", size(head)));
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

/// Subgroups of a workgroup and keys in a tile for cooperative matrices: as many as fit the workgroup's memory.
fn cooperative_tile(head: usize, capabilities: &Capabilities) -> Option<[usize; 2]> {
    let side = capabilities.cooperative as usize;
    if side == 0 || !head.is_multiple_of(side) || (capabilities.subgroup as usize) < side {
        return None;
    }
    let bytes = |[subgroups, keys]: [usize; 2]| {
        let (queries, row) = (side * subgroups, 2 * head + 16);
        queries * row + 2 * keys * row + queries * (4 * keys + 2 * (keys + 8) + 4 * head + 4)
    };
    let shapes = [[4, 2 * side], [2, 2 * side], [2, side], [1, side]];
    shapes.into_iter().find(|&shape| bytes(shape) <= capabilities.workgroup_bytes as usize)
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

    #[test]
    fn tiles_of_matrices_fit_in_workgroup_memory() {
        let tile = |head, cooperative, workgroup_bytes| {
            cooperative_tile(head, &Capabilities { subgroup: 32, cooperative, workgroup_bytes, ..Capabilities::CPU })
        };
        assert_eq!(tile(64, 16, 32 * 1024), Some([2, 32]));
        assert_eq!(tile(64, 16, 48 * 1024), Some([4, 32]));
        assert_eq!(tile(128, 16, 32 * 1024), Some([1, 16]));
        assert_eq!(tile(72, 16, 32 * 1024), None);
        assert_eq!(tile(72, 8, 32 * 1024), Some([4, 16]));
        assert_eq!(tile(64, 0, 32 * 1024), None);
        assert_eq!(tile(1024, 16, 32 * 1024), None);
    }
}
