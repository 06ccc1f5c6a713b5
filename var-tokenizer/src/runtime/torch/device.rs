//! Which device computes, and CUDA brought in at run time.

use std::fmt;
use std::str::FromStr;
use std::sync::Once;

use tch::{Cuda, Device};

use crate::runtime::error::{Error, Result};
use crate::runtime::progress::tell;

/// What a person asks for with `--device`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// CUDA device 0 where there is one, else the processor.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// The CUDA device of this index.
    Cuda(usize),
}

impl FromStr for DeviceChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => {
                text.strip_prefix("cuda:").and_then(|index| index.parse().ok()).map(Self::Cuda).ok_or_else(
                    || Error::Config(format!("device '{text}': expected auto, cpu, cuda or cuda:N")),
                )
            }
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl DeviceChoice {
    /// The device to put tensors on. The first call loads the CUDA half of libtorch if there is a driver.
    ///
    /// # Errors
    /// When a CUDA device is asked for by name and is not there.
    pub fn resolve(self) -> Result<Device> {
        // Whatever is chosen: libtorch asks once whether there is CUDA, and keeps the answer.
        super::start::prepare();
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Auto if Cuda::is_available() => Ok(Device::Cuda(0)),
            Self::Auto => {
                warn_once();
                Ok(Device::Cpu)
            }
            Self::Cuda(index) => {
                if !Cuda::is_available() {
                    return Err(Error::Config(format!(
                        "device {self}: CUDA is not available ({}); use device cpu",
                        super::cuda::state()
                    )));
                }
                let count = usize::try_from(Cuda::device_count()).unwrap_or(0);
                if index >= count {
                    return Err(Error::Config(format!(
                        "device {self}: this machine has {count} CUDA device(s), numbered from 0"
                    )));
                }
                Ok(Device::Cuda(index))
            }
        }
    }
}

/// Says that a driver is there, but not used. Hours on the CPU by mistake are worse than a line.
fn warn_once() {
    static WARNED: Once = Once::new();
    WARNED.call_once(|| {
        if let Some(why) = super::cuda::why_not() {
            tell(format_args!(
                "warning: computes on the CPU, although this machine has an NVIDIA driver: {why}"
            ));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_as_they_are_written() {
        for text in ["auto", "cpu", "cuda:0", "cuda:3"] {
            assert_eq!(text.parse::<DeviceChoice>().unwrap().to_string(), text);
        }
        assert_eq!("cuda".parse::<DeviceChoice>().unwrap(), DeviceChoice::Cuda(0));
    }

    #[test]
    fn an_unknown_device_lists_the_known_ones() {
        for text in ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "CPU "] {
            let message = text.parse::<DeviceChoice>().unwrap_err().to_string();
            assert!(message.contains("auto, cpu, cuda or cuda:N"), "{message}");
        }
    }
}
