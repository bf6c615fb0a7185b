//! Names of classes.

/// Names for `classes` classes: those given if they are as many; if there are none, ImageNet-1k's for 1000 classes; else none.
pub fn labels(names: Option<Vec<String>>, classes: usize) -> Vec<String> {
    match names {
        None if classes == 1000 => IMAGENET.lines().map(str::to_owned).collect(),
        names => names.filter(|names| names.len() == classes).unwrap_or_default(),
    }
}

/// The classes of ImageNet-1k (ILSVRC 2012) in the order of their synsets, by WordNet's lemmas, as timm and the hub have them.
const IMAGENET: &str = include_str!("imagenet.txt");
