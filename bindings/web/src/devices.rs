//! Open devices.

use crate::failure::raised;
use std::cell::RefCell;
use std::collections::HashMap;
use vitraux::{Device, DeviceChoice, Error};
use wasm_bindgen::JsValue;

thread_local! {
    /// Devices by their choice. Models share one, and with it the compiled kernels.
    static DEVICES: RefCell<HashMap<String, Device>> = RefCell::default();
}

/// Returns the device of a choice, which stays open.
pub async fn open(choice: &str) -> vitraux::Result<Device> {
    if let Some(device) = DEVICES.with_borrow(|devices| devices.get(choice).cloned()) {
        return Ok(device);
    }
    let Ok(parsed) = choice.parse::<DeviceChoice>();
    let device = Device::open(parsed).await?;
    DEVICES.with_borrow_mut(|devices| devices.insert(choice.to_owned(), device.clone()));
    Ok(device)
}

/// Returns the result, or its exception. After the loss of a device, the next model gets a new one.
pub fn checked<T>(result: vitraux::Result<T>) -> Result<T, JsValue> {
    result.map_err(|error| {
        if matches!(error, Error::DeviceLost { .. }) {
            DEVICES.with_borrow_mut(HashMap::clear);
        }
        raised(&error)
    })
}
