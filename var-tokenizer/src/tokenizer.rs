//! [`Tokenizer`]: image → token maps → image, for programs that need no tensors.

use std::cell::OnceCell;
use std::path::Path;

use image::RgbImage;
use tch::{Kind, Tensor};

use crate::builtin;
use crate::data::images::{Framing, View, from_tensor, to_unit};
use crate::data::schedule::ScaleSchedule;
use crate::runtime::error::{Error, Result};
use crate::runtime::torch::{DeviceChoice, Precision, guarded};
use crate::vqvae::{TokenizerConfig, VqVae};

/// The file of the tokenizer in a run folder.
const IN_RUN_FOLDER: &str = "tokenizer.safetensors";

/// A tokenizer. It loads its weights when it is first used, and computes on the processor in `f32` unless told
/// otherwise.
#[derive(Debug)]
pub struct Tokenizer {
    name: String,
    config: TokenizerConfig,
    device: DeviceChoice,
    precision: Precision,
    network: OnceCell<VqVae>,
}

/// The token ids of one image: a square map for each scale, from coarse to fine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenMaps {
    schedule: ScaleSchedule,
    ids: Vec<u32>,
}

impl TokenMaps {
    /// The maps with these `ids`: all scales from coarse to fine, each row by row.
    ///
    /// # Errors
    /// When `schedule` has another number of tokens.
    pub fn new(schedule: &ScaleSchedule, ids: Vec<u32>) -> Result<Self> {
        if ids.len() != schedule.tokens() {
            return Err(Error::Config(format!(
                "{} token ids; schedule {schedule} has {}",
                ids.len(),
                schedule.tokens()
            )));
        }
        Ok(Self { schedule: schedule.clone(), ids })
    }

    /// The sides of the maps.
    pub fn schedule(&self) -> &ScaleSchedule {
        &self.schedule
    }

    /// All ids `[L]`, from coarse to fine.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// The side of the map of each scale, and its ids `[side²]`, row by row.
    pub fn scales(&self) -> impl Iterator<Item = (usize, &[u32])> {
        let scale = |k| (self.schedule.sides()[k], self.ids.get(self.schedule.range(k)).unwrap_or_default());
        (0..self.schedule.scales()).map(scale)
    }
}

impl Tokenizer {
    /// Opens a weight file of any layout, a run folder of `var-train`, or the word `builtin`.
    ///
    /// # Errors
    /// When there is no such file, it is damaged, or it is not a tokenizer.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::opened(path.as_ref(), None)
    }

    /// As [`open`](Self::open), with these sides of the token maps: for files that do not contain them, and for the
    /// released tokenizer, which serves several schedules.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with_schedule(path: impl AsRef<Path>, schedule: &ScaleSchedule) -> Result<Self> {
        Self::opened(path.as_ref(), Some(schedule))
    }

    fn opened(path: &Path, schedule: Option<&ScaleSchedule>) -> Result<Self> {
        let in_folder = path.join(IN_RUN_FOLDER);
        let file = if in_folder.is_file() { &in_folder } else { path };
        let name = file.to_str().ok_or_else(|| Error::file(file, "the name is not UTF-8; rename it"))?;
        let (_, mut config) = builtin::weights(name, schedule)?;
        if let Some(schedule) = schedule {
            config.schedule = schedule.clone();
        }
        Ok(Self {
            name: name.to_owned(),
            config,
            device: DeviceChoice::Cpu,
            precision: Precision::F32,
            network: OnceCell::new(),
        })
    }

    /// Computes on this device.
    #[must_use]
    pub fn with_device(mut self, device: DeviceChoice) -> Self {
        self.device = device;
        self.unloaded()
    }

    /// Computes in this precision. The quantizer always computes in `f32`.
    #[must_use]
    pub fn with_precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self.unloaded()
    }

    fn unloaded(self) -> Self {
        Self { network: OnceCell::new(), ..self }
    }

    /// Sizes and schedule.
    pub fn config(&self) -> &TokenizerConfig {
        &self.config
    }

    /// Encodes an image of any size. As `var-tokenizer encode` does, it resizes the shorter side to 1.125 times the
    /// tokenizer's side, and takes the centre; an image of the tokenizer's size stays as it is.
    ///
    /// # Errors
    /// When the image has no pixels, the weights do not fit, a value is not finite, or memory runs out.
    pub fn encode(&self, image: &RgbImage) -> Result<TokenMaps> {
        self.with_network(|network| {
            let side = self.config.image_side();
            let square = Framing::new(side)?.frame(image, View::CENTRE)?;
            let pixels = Tensor::from_slice(&to_unit(&square)).view([1, 3, side as i64, side as i64]);
            let ids = Vec::<i64>::try_from(network.encode(&pixels)?.view([-1]))?;
            // An id is the index of a code, of which there are at most 2^24.
            TokenMaps::new(&self.config.schedule, ids.into_iter().map(|id| id as u32).collect())
        })
    }

    /// The image of these tokens.
    ///
    /// # Errors
    /// When the maps have another schedule, an id is not in the vocabulary, or as for [`encode`](Self::encode).
    pub fn decode(&self, maps: &TokenMaps) -> Result<RgbImage> {
        self.with_network(|network| {
            let image = from_tensor(&network.decode(&self.ids(maps, network)?)?)?.pop();
            image.ok_or_else(|| Error::Torch("the decoder gave no image".into()))
        })
    }

    /// The image after each scale, from coarse to fine. The last one is the image that [`decode`](Self::decode) gives.
    ///
    /// # Errors
    /// As for [`decode`](Self::decode).
    pub fn decode_scales(&self, maps: &TokenMaps) -> Result<Vec<RgbImage>> {
        self.with_network(|network| {
            from_tensor(&network.decode_scales(&self.ids(maps, network)?)?.squeeze_dim(0))
        })
    }

    /// Ids `[1, L]`, checked.
    fn ids(&self, maps: &TokenMaps, network: &VqVae) -> Result<Tensor> {
        if maps.schedule != self.config.schedule {
            return Err(Error::Config(format!(
                "tokens of schedule {}; the tokenizer has {}",
                maps.schedule, self.config.schedule
            )));
        }
        let vocabulary = self.config.vocabulary;
        if let Some(id) = maps.ids.iter().find(|&&id| id as usize >= vocabulary) {
            return Err(Error::Config(format!("token id {id}; the tokenizer has {vocabulary} codes")));
        }
        let ids: Vec<i64> = maps.ids.iter().map(|&id| i64::from(id)).collect();
        Ok(Tensor::from_slice(&ids).unsqueeze(0).to_device(network.device()))
    }

    /// Runs `work` with the weights in memory. A libtorch exception in it is an error.
    fn with_network<T>(&self, work: impl FnOnce(&VqVae) -> Result<T>) -> Result<T> {
        guarded(|| {
            let network = match self.network.get() {
                Some(network) => network,
                None => {
                    let (dict, _) = builtin::weights(&self.name, Some(&self.config.schedule))?;
                    let device = self.device.resolve()?;
                    let (side, width) = (self.config.image_side() as i64, self.config.channels as i64);
                    let kind: Kind = self.precision.resolve(device, [side * side, 9 * width, width])?;
                    let network = VqVae::for_inference(&dict, &self.config, device, kind)?;
                    self.network.get_or_init(|| network)
                }
            };
            work(network)
        })
    }
}
