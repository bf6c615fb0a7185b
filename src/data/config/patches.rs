//! Plain data that describes how images become patches.

/// Maximum patches per image: 256 x 256. Keeps a bogus image size from allocating tables in proportion to it.
const LARGEST_GRID: usize = 65_536;

/// Description of how an image becomes patch embeddings.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Patches {
    /// Input channels.
    pub channels: usize,
    /// Default height and width of the input, in pixels.
    pub image: [usize; 2],
    /// Height and width of a patch, in pixels of the image or of the backbone's feature map.
    pub size: [usize; 2],
    /// Treatment of pixels at the lower and right edge that fill no patch.
    pub(crate) edge: Edge,
    /// Convolutional network before the patches of a hybrid.
    pub backbone: Option<Backbone>,
    /// Widths of the layers between a patch's pixels and its projection, each followed by GELU; none if the projection is all.
    pub(crate) stem: Vec<usize>,
}

/// Treatment of pixels at the lower and right edge that fill no patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Edge {
    /// Drops them, as a strided convolution does (transformers).
    Ignore,
    /// Drops them at the model's native size; any other size that the patches do not divide is an error (timm).
    Refuse,
    /// Pads the patches there with zeros (timm's `dynamic_img_pad`).
    Pad,
}

/// A BiT ResNet (Kolesnikov et al. 2020): weight-standardised convolutions, GroupNorm, post-activation ReLU.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backbone {
    /// Channels after the first convolution.
    pub stem: usize,
    /// Groups of every GroupNorm.
    pub groups: usize,
    /// Stages; empty if there is only the stem.
    pub(crate) stages: Vec<Stage>,
}

/// A stage of bottleneck blocks of the same size. Every stage but the first halves the feature map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stage {
    /// Number of blocks.
    pub depth: usize,
    /// Channels inside a block.
    pub inner: usize,
    /// Output channels of a block.
    pub outer: usize,
}

/// Groups of every GroupNorm in a [`Backbone`], unless its configuration has another number.
pub const BACKBONE_GROUPS: usize = 32;

impl Patches {
    /// Patches that are projected without layers before.
    pub(crate) fn new(channels: usize, image: [usize; 2], size: [usize; 2], edge: Edge) -> Patches {
        Patches { channels, image, size, edge, backbone: None, stem: Vec::new() }
    }

    /// Returns the height and width of the map that is cut into patches: the image, or the backbone's feature map.
    pub fn map(&self, image: [usize; 2]) -> [usize; 2] {
        match &self.backbone {
            None => image,
            // Strides of 2 use TensorFlow's SAME padding and round up: the stem, the pool, and every stage but the first.
            Some(backbone) => image.map(|size| (0..1 + backbone.stages.len().max(1)).fold(size, |size, _| size.div_ceil(2))),
        }
    }

    /// Returns the height and width of the map after a stage of the backbone.
    pub(super) fn stage_map(&self, image: [usize; 2], stage: usize) -> [usize; 2] {
        image.map(|size| (0..2 + stage).fold(size, |size, _| size.div_ceil(2)))
    }

    /// Returns the channels of the map after a stage of the backbone, 0 if there is none.
    pub(crate) fn stage_channels(&self, stage: usize) -> usize {
        self.backbone.iter().filter_map(|backbone| backbone.stages.get(stage)).map(|stage| stage.outer).next().unwrap_or(0)
    }

    /// Returns the number of patches along the height and width of an image.
    pub fn grid(&self, image: [usize; 2]) -> [usize; 2] {
        let map = self.map(image);
        let count = |axis: usize| match self.edge {
            Edge::Pad => map[axis].div_ceil(self.size[axis]),
            Edge::Ignore | Edge::Refuse => map[axis] / self.size[axis],
        };
        [count(0), count(1)]
    }

    /// Returns the number of whole patches along the height and width of an image: the grid of a position table.
    pub fn whole_grid(&self, image: [usize; 2]) -> [usize; 2] {
        let map = self.map(image);
        [map[0] / self.size[0], map[1] / self.size[1]]
    }

    /// Returns the channels of the map that is cut into patches.
    pub fn map_channels(&self) -> usize {
        match &self.backbone {
            None => self.channels,
            Some(backbone) => backbone.stages.last().map_or(backbone.stem, |stage| stage.outer),
        }
    }

    /// Returns the number of values in a patch: channels × height × width.
    pub fn values(&self) -> usize {
        self.map_channels() * self.size[0] * self.size[1]
    }

    /// Returns the multiply-adds from the values of a patch to its embedding of `width` values.
    pub(super) fn projection_products(&self, width: usize) -> u64 {
        let inputs = std::iter::once(self.values()).chain(self.stem.iter().copied());
        inputs.zip(self.stem.iter().copied().chain([width])).map(|(input, output)| (input * output) as u64).sum()
    }

    /// Returns why this image size cannot be run, or `None` if it can.
    pub(super) fn refusal(&self, image: [usize; 2]) -> Option<String> {
        let map = self.map(image);
        let is_cut = self.edge == Edge::Refuse && image != self.image && (0..2).any(|axis| !map[axis].is_multiple_of(self.size[axis]));
        let [[height, width], [down, across]] = [image, self.size];
        let cut = || is_cut.then(|| format!("patches of {down} x {across} do not divide an image of {height} x {width}"));
        self.grid_refusal(image, self.grid(image)).or_else(cut)
    }

    /// Returns why an image cannot have this grid of patches, if it cannot.
    pub(crate) fn grid_refusal(&self, image: [usize; 2], grid: [usize; 2]) -> Option<String> {
        let [height, width] = image;
        if grid.contains(&0) {
            let [patch_height, patch_width] = self.size;
            let map = self.map(image);
            let of = if self.backbone.is_some() { format!(" (a feature map of {} x {})", map[0], map[1]) } else { String::new() };
            return Some(format!("a patch of {patch_height} x {patch_width} is larger than the image of {height} x {width}{of}"));
        }
        let patches = grid[0].saturating_mul(grid[1]);
        (patches > LARGEST_GRID).then(|| format!("an image of {height} x {width} has {patches} patches; at most {LARGEST_GRID} are supported"))
    }

    /// Returns the backbone's multiply-adds for one image.
    pub(super) fn backbone_products(&self, image: [usize; 2]) -> u64 {
        let Some(backbone) = &self.backbone else { return 0 };
        let half = |map: [usize; 2]| map.map(|size| size.div_ceil(2));
        let area = |map: [usize; 2]| (map[0] * map[1]) as u64;
        let stem_map = half(image);
        let mut products = area(stem_map) * (49 * self.channels * backbone.stem) as u64;
        let (mut map, mut channels) = (half(stem_map), backbone.stem);
        for (i, stage) in backbone.stages.iter().enumerate() {
            for block in 0..stage.depth {
                let before = area(map);
                if i > 0 && block == 0 {
                    map = half(map);
                }
                products += before * (channels * stage.inner) as u64 + area(map) * (9 * stage.inner * stage.inner + stage.inner * stage.outer) as u64;
                if block == 0 {
                    products += area(map) * (channels * stage.outer) as u64;
                }
                channels = stage.outer;
            }
        }
        products
    }
}
