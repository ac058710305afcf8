//! Rotations that a user requests by annotation, pass after pass.

use jiff::SignedDuration;
use secure_exporter_operator::spec::methods::Methods;

use crate::rotation_model::{Event, Mutant, World};

fn world() -> World {
    World::new(1, Methods::Password, Mutant::Sound, 1)
}

fn pass(world: &mut World, minutes: usize) {
    for _ in 0..minutes {
        world.happen(&Event::Pass(0)).unwrap();
    }
}

#[test]
fn every_subject_of_a_request_is_rotated() {
    let mut world = world();
    let before = world.state().clone();
    world.request("certificate,password:1");
    world.settle().unwrap();
    let after = world.state();
    assert_ne!(after.leaf.certificate_pem, before.leaf.certificate_pem);
    assert_eq!(after.active_password, before.active_password + 1);
    assert_eq!(after.handled.len(), 2);
}

#[test]
fn a_request_during_a_rotation_waits_and_is_not_lost() {
    let mut world = world();
    world.request("password:1");
    pass(&mut world, 2);
    assert!(world.state().password_progress.is_some());
    world.request("password:2");
    pass(&mut world, 2);
    assert_eq!(world.state().handled["password"], "password:1");
    world.settle().unwrap();
    assert_eq!(world.state().handled["password"], "password:2");
    assert_eq!(world.state().active_password, 3);
}

#[test]
fn a_value_is_acted_on_when_it_differs_from_the_last() {
    let mut world = world();
    for (value, generation) in [
        ("password:1", 2),
        ("password:1", 2),
        ("password:2", 3),
        ("password:1", 4),
    ] {
        world.request(value);
        world.settle().unwrap();
        assert_eq!(world.state().active_password, generation, "{value}");
    }
}

#[test]
fn another_scrape_interval_restarts_no_wait() {
    let mut world = world();
    world.request("ca:1");
    pass(&mut world, 3);
    let confirmed = world.state().authority_progress.unwrap().confirmed;
    assert!(confirmed.is_some());
    world.spec().scrape.interval = SignedDuration::from_secs(17);
    pass(&mut world, 2);
    let state = world.state();
    assert_eq!(
        state.accepted.as_ref().unwrap().scrape.interval,
        SignedDuration::from_secs(17)
    );
    assert_eq!(state.authority_progress.unwrap().confirmed, confirmed);
}

#[test]
fn distrust_works_where_the_password_was_lost() {
    let mut world = world();
    world.lose_password();
    world.distrust("ca");
    world.operate().unwrap();
    let state = world.state();
    assert_eq!(state.active_authority, 2);
    assert!(state.passwords[&state.active_password].password.is_some());
    assert_eq!(state.handled["distrust-ca"], "ca");
}
