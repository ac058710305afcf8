//! Machines that are broken on purpose are found out.

use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};

use super::{Issuer, events, run, run_with_issuer};
use crate::rotation_model::{Event, Mutant, issuer::Act};

/// How many runs a mutant may survive before it counts as not found.
const TRIES: usize = 100;

/// A node that is cut off for longer than a certificate lives, in the middle of a change of the authority.
fn a_node_that_never_answers() -> Vec<Event> {
    let wait = std::iter::repeat_n(Event::Pass(29), 60);
    [Event::CutOff(0), Event::Ask(1)]
        .into_iter()
        .chain(wait)
        .collect()
}

/// The operator has decided to tell scrapers the new password, may not write that for a while, and nobody can be asked.
fn an_intent_long_before_its_publication() -> Vec<Event> {
    let wait = std::iter::repeat_n(Event::Pass(29), 12);
    [
        Event::Deafen(0),
        Event::Ask(2),
        Event::Pass(29),
        Event::Refuse(1),
    ]
    .into_iter()
    .chain(wait)
    .collect()
}

/// The clock jumps by most of the overlap just when scrapers were told the new password, and nobody can be asked.
fn a_clock_that_jumps() -> Vec<Event> {
    let wait = [29, 6].map(Event::Pass);
    let rest = std::iter::repeat_n(Event::Pass(29), 6);
    [Event::Deafen(0), Event::Ask(2)]
        .into_iter()
        .chain(wait)
        .chain([Event::Jump(49)])
        .chain(rest)
        .collect()
}

/// The state is lost with the keys of the authorities while the operator is down; the kubelet takes its time.
fn lost_keys() -> Vec<Event> {
    let wait = std::iter::repeat_n(Event::Pass(29), 30);
    [
        Event::Kill(0),
        Event::Ask(0),
        Event::Pass(1),
        Event::Delete(0),
    ]
    .into_iter()
    .chain(wait)
    .collect()
}

#[test]
fn the_sound_machine_passes_what_its_mutants_fail() {
    for seed in 0..20 {
        assert_eq!(
            run(2, Mutant::Sound, seed, &a_node_that_never_answers()),
            Ok(())
        );
        assert_eq!(
            run(
                1,
                Mutant::Sound,
                seed,
                &an_intent_long_before_its_publication()
            ),
            Ok(())
        );
        assert_eq!(run(1, Mutant::Sound, seed, &a_clock_that_jumps()), Ok(()));
        assert_eq!(run(3, Mutant::Sound, seed, &lost_keys()), Ok(()));
    }
}

/// Whether any of many arbitrary runs finds the mutant out.
fn is_found(mutant: Mutant) -> bool {
    let mut runner = TestRunner::deterministic();
    let strategy = (1..5_usize, any::<u64>(), events());
    (0..TRIES).any(|_| {
        let (nodes, seed, events) = strategy.new_tree(&mut runner).unwrap().current();
        run(nodes, mutant, seed, &events).is_err()
    })
}

#[test]
fn a_machine_without_overlap_is_found() {
    assert!(is_found(Mutant::NoOverlap));
}

#[test]
fn a_machine_that_starts_timers_from_intent_is_found() {
    let found = |seed| {
        let events = an_intent_long_before_its_publication();
        run(1, Mutant::TimersFromIntent, seed, &events).is_err()
    };
    assert!((0..20).any(found));
}

#[test]
fn a_machine_whose_leaf_queues_is_found() {
    assert!(run(2, Mutant::LeafQueues, 1, &a_node_that_never_answers()).is_err());
}

#[test]
fn a_machine_whose_client_certificate_queues_is_found() {
    assert!(run(2, Mutant::ClientQueues, 1, &a_node_that_never_answers()).is_err());
}

#[test]
fn a_machine_without_cross_certificates_for_clients_is_found() {
    assert!(is_found(Mutant::NoClientCross));
}

#[test]
fn a_machine_whose_client_certificate_jumps_ahead_of_the_exporters_is_found() {
    assert!((0..20).any(|seed| run(3, Mutant::ClientJumps, seed, &lost_keys()).is_err()));
}

#[test]
fn a_machine_whose_client_certificate_stays_behind_is_found() {
    assert!(is_found(Mutant::ClientStays));
}

#[test]
fn a_machine_without_cross_certificates_is_found() {
    assert!(is_found(Mutant::NoCross));
}

#[test]
fn a_machine_that_tells_scrapers_an_own_password_too_early_is_found() {
    assert!(is_found(Mutant::OwnPasswordAtOnce));
}

#[test]
fn a_machine_whose_users_end_with_their_secret_is_found() {
    assert!(is_found(Mutant::UsersEndWithSecret));
}

#[test]
fn a_machine_that_forgets_requests_with_its_state_is_found() {
    assert!(is_found(Mutant::ForgetsRequests));
}

#[test]
fn a_machine_that_waits_for_a_valid_spec_is_found() {
    let wait = std::iter::repeat_n(Event::Pass(29), 60);
    let events: Vec<Event> = std::iter::once(Event::Spoil(0)).chain(wait).collect();
    assert_eq!(run(2, Mutant::Sound, 1, &events), Ok(()));
    assert!(run(2, Mutant::WaitsForValidSpec, 1, &events).is_err());
}

#[test]
fn a_pass_that_stores_its_state_last_is_found() {
    assert!(is_found(Mutant::StateLast));
}

#[test]
fn a_pass_that_tells_scrapers_first_is_found() {
    assert!(is_found(Mutant::ScrapersFirst));
}

#[test]
fn a_machine_that_believes_jumping_clocks_is_found() {
    let found = |seed| run(1, Mutant::BelievesJumps, seed, &a_clock_that_jumps()).is_err();
    assert!((0..20).any(found));
}

#[test]
fn a_machine_that_believes_backups_is_found() {
    assert!(is_found(Mutant::BelievesBackups));
}

/// Somebody goes to another authority, and nothing else happens.
fn another_authority() -> Vec<Event> {
    let wait = std::iter::repeat_n(Event::Pass(29), 10);
    std::iter::once(Event::Issue(Act::NewAuthority))
        .chain(wait)
        .collect()
}

#[test]
fn a_machine_that_serves_a_supplied_leaf_before_its_bundle_is_found() {
    let run = |mutant, seed| run_with_issuer(Issuer::Person, 3, mutant, seed, &another_authority());
    for seed in 0..20 {
        assert_eq!(run(Mutant::Sound, seed), Ok(()));
    }
    assert!((0..20).any(|seed| run(Mutant::LeafFirst, seed).is_err()));
}

#[test]
fn a_machine_that_serves_a_supplied_leaf_before_everybody_has_its_bundle_is_found() {
    let found = |seed| {
        run_with_issuer(
            Issuer::Person,
            3,
            Mutant::SoftTrust,
            seed,
            &another_authority(),
        )
        .is_err()
    };
    assert!((0..20).any(found));
}
