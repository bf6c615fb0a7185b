//! Class names.

/// Returns names for `classes` classes: the given names if the count matches, ImageNet-1k's for 1000 classes if none are given, else none.
pub fn labels(names: Option<Vec<String>>, classes: usize) -> Vec<String> {
    match names {
        None if classes == 1000 => IMAGENET.lines().map(str::to_owned).collect(),
        names => names.filter(|names| names.len() == classes).unwrap_or_default(),
    }
}

/// Classes of ImageNet-1k (ILSVRC 2012) in synset order, named by WordNet lemmas, as in timm and on the hub.
const IMAGENET: &str = include_str!("imagenet.txt");
