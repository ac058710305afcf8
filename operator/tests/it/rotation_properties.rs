//! No reachable pair of scraper and exporter fails, whatever happens in whatever order; everything that was begun ends;
//! and a machine that is broken on purpose is found out.

use crate::rotation_model::{Event, Mutant, World, issuer::Act};
use proptest::{
    collection::vec,
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, RngSeed, TestRunner},
};
use secure_exporter_operator::spec::methods::Methods;

/// How many runs the sound machine must pass each time: the same ones, so that a change is judged and not the dice. With
/// `PROPTEST_CASES=5000` set, so many others are tried.
const CASES: u32 = 64;
const SEED: u64 = 1;
/// How many runs a mutant may survive before it counts as not found.
const TRIES: usize = 100;

fn config() -> Config {
    let config = Config {
        max_shrink_iters: 2000,
        failure_persistence: None,
        ..Config::default()
    };
    if std::env::var_os("PROPTEST_CASES").is_some() {
        return config;
    }
    Config {
        cases: CASES,
        rng_seed: RngSeed::Fixed(SEED),
        ..config
    }
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        16 => any::<u8>().prop_map(Event::Pass),
        2 => any::<u8>().prop_map(Event::Kill),
        2 => any::<u8>().prop_map(Event::Delete),
        1 => (0..6_u8).prop_map(Event::Restore),
        1 => any::<u8>().prop_map(Event::Freeze),
        1 => any::<u8>().prop_map(Event::CutOff),
        3 => any::<u8>().prop_map(Event::Return),
        1 => any::<u8>().prop_map(Event::Deafen),
        1 => any::<u8>().prop_map(Event::Restart),
        5 => any::<u8>().prop_map(Event::Ask),
        3 => any::<u8>().prop_map(Event::Password),
        2 => any::<u8>().prop_map(Event::Users),
        1 => any::<i8>().prop_map(Event::Jump),
    ];
    vec(event, 20..160)
}

/// What may happen, and what a person with an issuer of their own may do.
fn events_with_issuer() -> impl Strategy<Value = Vec<Event>> {
    let act = (0..Act::ALL.len()).prop_map(|which| Event::Issue(Act::ALL[which]));
    let chunk = (events(), vec(act, 4..24), any::<u64>());
    chunk.prop_map(|(mut events, acts, seed)| {
        for (index, act) in acts.into_iter().enumerate() {
            let place = seed.rotate_left(index as u32 * 5) as usize % events.len();
            events.insert(place, act);
        }
        events
    })
}

/// Half of the runs ask for both, because what one machine does may get into the way of the other.
fn methods() -> impl Strategy<Value = Methods> {
    prop_oneof![
        1 => Just(Methods::Password),
        2 => Just(Methods::PasswordAndCertificate),
        1 => Just(Methods::Certificate),
    ]
}

fn run(nodes: usize, mutant: Mutant, seed: u64, events: &[Event]) -> Result<(), String> {
    run_with(Methods::PasswordAndCertificate, nodes, mutant, seed, events)
}

fn run_with(
    methods: Methods,
    nodes: usize,
    mutant: Mutant,
    seed: u64,
    events: &[Event],
) -> Result<(), String> {
    let mut world = World::new(nodes, methods, mutant, seed);
    if mutant == Mutant::NoOverlap {
        world = world.without_overlap();
    }
    events.iter().try_for_each(|event| world.happen(event))?;
    world.settle()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn no_scrape_fails_and_every_rotation_ends(
        methods in methods(), nodes in 1..5_usize, seed in any::<u64>(), events in events()
    ) {
        prop_assert_eq!(run_with(methods, nodes, Mutant::Sound, seed, &events), Ok(()));
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn no_scrape_fails_and_every_rotation_ends_with_another_issuer(
        nodes in 1..5_usize, seed in any::<u64>(), events in events_with_issuer()
    ) {
        prop_assert_eq!(run_with_issuer(nodes, Mutant::Sound, seed, &events), Ok(()));
    }
}

fn run_with_issuer(
    nodes: usize,
    mutant: Mutant,
    seed: u64,
    events: &[Event],
) -> Result<(), String> {
    let mut world = World::with_issuer(nodes, mutant, seed);
    events.iter().try_for_each(|event| world.happen(event))?;
    world.settle()
}

/// A node that is cut off for longer than a certificate lives, in the middle of a change of the authority.
fn a_node_that_never_answers() -> Vec<Event> {
    let wait = std::iter::repeat_n(Event::Pass(29), 60);
    [Event::CutOff(0), Event::Ask(1)]
        .into_iter()
        .chain(wait)
        .collect()
}

/// The operator dies when it has decided to tell scrapers the new password and has not told them, and nobody can be asked.
fn a_death_between_intent_and_publication() -> Vec<Event> {
    let wait = std::iter::repeat_n(Event::Pass(29), 12);
    [Event::Deafen(0), Event::Ask(2), Event::Kill(7)]
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
                &a_death_between_intent_and_publication()
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
        let events = a_death_between_intent_and_publication();
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
fn a_machine_that_asks_nobody_is_found() {
    assert!(is_found(Mutant::NoEvidence));
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
    let run = |mutant, seed| run_with_issuer(3, mutant, seed, &another_authority());
    for seed in 0..20 {
        assert_eq!(run(Mutant::Sound, seed), Ok(()));
    }
    assert!((0..20).any(|seed| run(Mutant::LeafFirst, seed).is_err()));
}

#[test]
fn a_machine_that_serves_a_supplied_leaf_before_everybody_has_its_bundle_is_found() {
    let found = |seed| run_with_issuer(3, Mutant::SoftTrust, seed, &another_authority()).is_err();
    assert!((0..20).any(found));
}

/// Runs that were found by the dice and failed, each until its defect was mended.
#[test]
fn what_was_found_once_is_not_found_again() {
    use Event::{Ask, CutOff, Deafen, Delete, Issue, Jump, Kill, Pass, Restore, Return};
    let both = Methods::PasswordAndCertificate;
    let wait = |minutes: usize| std::iter::repeat_n(Pass(0), minutes);

    // A Secret is deleted just before it would have come to a node that cannot be asked.
    let mut events = vec![Issue(Act::NewAuthority), Ask(92), Pass(2), Deafen(0)];
    events.extend([Pass(53), Delete(217)].into_iter().chain(wait(60)));
    let outcome = run_with_issuer(1, Mutant::Sound, 5_609_445_772_504_706_090, &events);
    assert_eq!(outcome, Ok(()));

    // A node that was down comes back where the operator cannot ask it.
    let mut events = vec![Ask(10), Pass(19), Pass(170), Pass(18), Pass(22), Pass(11)];
    events.extend([Ask(15), Pass(21), Pass(27), Pass(42), Pass(13), Pass(137)]);
    events.extend([Pass(78), Ask(29), CutOff(0), Pass(81), Return(0), Deafen(0)]);
    events.push(Pass(9));
    let outcome = run_with(both, 1, Mutant::Sound, 4_260_395_303_563_261_532, &events);
    assert_eq!(outcome, Ok(()));

    // A state from before the clock jumped is restored.
    let mut events = vec![Ask(1), Pass(141), Ask(8), Pass(0), Pass(0), Pass(10)];
    events.extend([Pass(0), Pass(1), Pass(19), Pass(20), Pass(97), Pass(174)]);
    events.extend([Pass(100), Ask(220), Pass(7), Jump(23), Kill(33), Pass(216)]);
    events.extend([Restore(0), Pass(140), Pass(68), Delete(150), Pass(146)]);
    let outcome = run_with(both, 2, Mutant::Sound, 14_776_047_824_133_909_752, &events);
    assert_eq!(outcome, Ok(()));
}
