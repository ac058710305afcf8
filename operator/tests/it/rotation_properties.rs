//! No reachable pair of scraper and exporter fails, whatever happens in whatever order; everything that was begun ends;
//! and a machine that is broken on purpose is found out.

mod found_once;
mod mutants;
mod mutants_of_events;

use crate::rotation_model::{Event, Mutant, World, issuer::Act, orders::OrderAct};
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, RngSeed},
};
use secure_exporter_operator::spec::methods::Methods;

/// How many runs the sound machine must pass each time: the same ones, so that a change is judged and not the dice. With
/// `PROPTEST_CASES=5000` set, so many others are tried.
const CASES: u32 = 64;
const SEED: u64 = 1;

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
        2 => any::<u8>().prop_map(Event::Spoil),
        1 => any::<u8>().prop_map(Event::Refuse),
        1 => Just(Event::Recreate),
        1 => Just(Event::Join),
        1 => any::<u8>().prop_map(Event::Leave),
        2 => any::<u8>().prop_map(Event::Stale),
        1 => any::<u8>().prop_map(Event::Unread),
        1 => any::<u8>().prop_map(Event::Distrust),
    ];
    vec(event, 20..160)
}

/// Who signs instead of the operator.
#[derive(Clone, Copy, Debug)]
enum Issuer {
    /// A person, who keeps a Secret with a certificate.
    Person,
    /// cert-manager, which a certificate is ordered from.
    CertManager,
}

fn issuer() -> impl Strategy<Value = Issuer> {
    prop_oneof![Just(Issuer::Person), Just(Issuer::CertManager)]
}

/// What may happen, and what another issuer may do: each knows its own events only.
fn events_with_issuer() -> impl Strategy<Value = Vec<Event>> {
    let act = (0..Act::ALL.len()).prop_map(|which| Event::Issue(Act::ALL[which]));
    let order = (0..OrderAct::ALL.len()).prop_map(|which| Event::Order(OrderAct::ALL[which]));
    let chunk = (events(), vec((act, order), 4..24), any::<u64>());
    chunk.prop_map(|(mut events, acts, seed)| {
        // `external::tests` has what it does beside another issuer.
        events.retain(|event| !matches!(event, Event::Distrust(_)));
        for (index, (act, order)) in acts.into_iter().enumerate() {
            let place = seed.rotate_left(index as u32 * 5) as usize % events.len();
            events.insert(place, act);
            events.insert(place, order);
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
        issuer in issuer(), nodes in 1..5_usize, seed in any::<u64>(), events in events_with_issuer()
    ) {
        prop_assert_eq!(run_with_issuer(issuer, nodes, Mutant::Sound, seed, &events), Ok(()));
    }
}

fn run_with_issuer(
    issuer: Issuer,
    nodes: usize,
    mutant: Mutant,
    seed: u64,
    events: &[Event],
) -> Result<(), String> {
    let mut world = match issuer {
        Issuer::Person => World::with_issuer(nodes, mutant, seed),
        Issuer::CertManager => World::with_orders(nodes, mutant, seed),
    };
    events.iter().try_for_each(|event| world.happen(event))?;
    world.settle()
}
