//! Handles one scrape, from the request to the body.

mod registry;
mod round;
pub(crate) mod scraper;
mod selection;

pub use registry::Registry;
pub use selection::{Selection, SelectionError};
