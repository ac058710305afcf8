//! One scrape, from the request to its bytes.

mod registry;
mod round;
pub(crate) mod scraper;
mod selection;

pub use registry::Registry;
pub use selection::{Selection, SelectionError};
