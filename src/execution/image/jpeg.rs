//! Structure of JPEG files.

/// Structure of a file, by its markers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Structure {
    /// Whether the end-of-image marker is there: decoders silently fill missing data with grey.
    pub is_complete: bool,
    /// Whether the components come in several scans, so that decoders keep all coefficients, in 16 bits, until the last one.
    pub has_scans: bool,
    /// The largest `[height, width]`.
    pub size: [u16; 2],
}

/// Reads the markers. Segments are skipped by length, because thumbnails in them have markers of their own.
pub fn structure(bytes: &[u8]) -> Structure {
    let mut structure = Structure::default();
    let mut components = 0;
    let mut rest = &bytes[2.min(bytes.len())..];
    // Within a scan, 0xFF is followed by 0x00 or a restart marker; elsewhere it may be repeated.
    while let Some(place) = rest.windows(2).position(|pair| pair[0] == 0xFF && !matches!(pair[1], 0x00 | 0xFF | 0xD0..=0xD7)) {
        let (marker, segment) = (rest[place + 1], &rest[place + 2..]);
        match (marker, segment) {
            (0xD9, _) => {
                structure.is_complete = true;
                break;
            }
            // Start of a frame.
            (0xC0..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF, &[_, _, _, top, bottom, left, right, count, ..]) => {
                let size = [u16::from_be_bytes([top, bottom]), u16::from_be_bytes([left, right])];
                structure.size = [0, 1].map(|axis| structure.size[axis].max(size[axis]));
                structure.has_scans |= marker & 3 == 2;
                components = count;
            }
            // Start of a scan.
            (0xDA, &[_, _, count, ..]) => structure.has_scans |= count < components,
            _ => {}
        }
        let Some(&[high, low]) = segment.first_chunk() else { break };
        rest = segment.get(usize::from(u16::from_be_bytes([high, low]))..).unwrap_or(&[]);
    }
    structure
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_are_read_from_markers() {
        let frame = |marker: u8| vec![0xFF, marker, 0, 11, 8, 0, 3, 1, 4, 3, 0, 0, 0];
        let scan = |count: u8| vec![0xFF, 0xDA, 0, 6, count, 0, 0, 0, 0x12, 0xFF, 0x00, 0xFF, 0xD0];
        let of = |parts: &[Vec<u8>]| structure(&[&[vec![0xFF, 0xD8]], parts].concat().concat());
        let end = vec![0xFF, 0xD9];
        let whole = Structure { is_complete: true, has_scans: false, size: [3, 0x104] };
        assert_eq!(of(&[frame(0xC0), scan(3), end.clone()]), whole);
        assert_eq!(of(&[frame(0xC0), scan(3)]), Structure { is_complete: false, ..whole });
        assert_eq!(of(&[frame(0xC2), scan(3), end.clone()]), Structure { has_scans: true, ..whole });
        assert_eq!(of(&[frame(0xC1), scan(1), end.clone()]), Structure { has_scans: true, ..whole });
        // A thumbnail in an application segment.
        let thumbnail = [vec![0xFF, 0xE1, 0, 17], frame(0xC2), end.clone()].concat();
        assert_eq!(of(&[thumbnail, frame(0xC0), scan(3), end]), whole);
        assert_eq!(of(&[]), Structure::default());
    }
}
