//! One file of the captured host has arbitrary content: no collector panics, and the exposition stays well-formed and up to
//! date.
#![no_main]

#[path = "../../tests/it/collectors_hostile/hostile_host.rs"]
mod hostile_host;

use std::cell::RefCell;

use hostile_host::HostileHost;
use libfuzzer_sys::fuzz_target;

thread_local! {
    static HOST: RefCell<HostileHost> = RefCell::new(HostileHost::new());
}

fuzz_target!(|bytes: &[u8]| {
    HOST.with_borrow_mut(|host| {
        if let Some((place, content)) = host.input(bytes)
            && let Err(error) = host.scrape_with(place, &content)
        {
            panic!("{error}");
        }
    });
});
