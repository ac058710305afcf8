//! Everything that a person reads about a resource: its status, conditions and events. Pure.

pub mod adopted;
pub mod announcements;
pub mod certificate;
pub mod conditions;
pub mod contention;
pub mod exporters;
pub mod news;
pub mod pod_problems;
pub mod pods;
pub mod problem;
pub mod requests;
pub mod rotation;
pub mod seen;
pub mod status;
