//! Machines that only one kind of event finds out: without it, the broken one passes the same run.

use super::{Issuer, run, run_with_issuer};
use crate::rotation_model::{
    Event::{self, Ask, Distrust, Jump, Kill, Order, Pass, Stale, Unread},
    Mutant,
    orders::OrderAct,
};

/// The dice decide who is late, so a few runs of the same events may be needed.
const SEEDS: u64 = 300;

fn hours(hours: usize) -> impl Iterator<Item = Event> {
    std::iter::repeat_n(Pass(29), 2 * hours)
}

fn then(events: &[Event], hours_after: usize) -> Vec<Event> {
    events.iter().cloned().chain(hours(hours_after)).collect()
}

/// Asserts that these events find the mutant, and that neither the sound machine fails in that run, nor the mutant without the
/// event that matters.
fn assert_found_by(
    matters: fn(&Event) -> bool,
    mutant: Mutant,
    events: &[Event],
    run: impl Fn(Mutant, u64, &[Event]) -> Result<(), String>,
) {
    let others: Vec<Event> = events.iter().filter(|it| !matters(it)).cloned().collect();
    assert!(others.len() < events.len());
    let seed = (0..SEEDS).find(|seed| run(mutant, *seed, events).is_err());
    let seed = seed.expect("a seed with which the mutant fails");
    assert_eq!(run(Mutant::Sound, seed, events), Ok(()), "sound, {seed}");
    assert_eq!(run(mutant, seed, &others), Ok(()), "without, {seed}");
}

fn alone(mutant: Mutant, seed: u64, events: &[Event]) -> Result<(), String> {
    run(2, mutant, seed, events)
}

fn with_orders(mutant: Mutant, seed: u64, events: &[Event]) -> Result<(), String> {
    run_with_issuer(Issuer::CertManager, 2, mutant, seed, events)
}

/// The clock jumps by most of the overlap while the operator is down, just when scrapers were told the new password. Nobody
/// can be asked, so that only time tells when they all have it.
#[test]
fn a_machine_that_believes_the_clock_of_an_earlier_process_is_found() {
    let begin = [
        Event::Deafen(0),
        Event::Deafen(1),
        Ask(2),
        Pass(29),
        Pass(3),
        Kill(0),
        // Another request, so that there is something to write.
        Event::Users(0),
        Pass(0),
        Jump(49),
    ];
    let events = then(&begin, 4);
    let matters = |it: &Event| matches!(it, Jump(_));
    assert_found_by(matters, Mutant::BelievesEarlierClocks, &events, alone);
}

/// The operator dies when it has stored a new CA, and the next process sees the state from before.
#[test]
fn a_machine_that_writes_over_what_it_has_not_seen_is_found() {
    let events = then(&[Ask(1), Kill(1), Pass(0), Stale(0)], 3);
    let matters = |it: &Event| matches!(it, Stale(_));
    assert_found_by(matters, Mutant::BlindWrites, &events, alone);
}

/// The state is lost while the operator is down, and then the Secret of the exporters cannot be read.
#[test]
fn a_machine_that_rebuilds_from_what_it_happens_to_read_is_found() {
    let begin = [Ask(0), Kill(0), Pass(0), Event::Delete(0), Unread(1)];
    let events = then(&begin, 3);
    let matters = |it: &Event| matches!(it, Unread(_));
    assert_found_by(matters, Mutant::RebuildsFromLess, &events, alone);
}

#[test]
fn a_machine_that_rotates_what_has_leaked_is_found() {
    let matters = |it: &Event| matches!(it, Distrust(_));
    for what in [0, 1] {
        let events = then(&[Distrust(what)], 3);
        assert_found_by(matters, Mutant::DistrustOverlaps, &events, alone);
    }
}

/// The user puts another password into the Secret and ends the trust in the leaked one, while the operator cannot read the Secret,
/// or the Secret has a password that cannot be used.
#[test]
fn a_machine_that_forgets_a_leaked_password_which_it_could_not_replace_is_found() {
    let begin: Vec<Event> = [Event::Password(0), Event::Password(4)]
        .into_iter()
        .chain(hours(6))
        .collect();
    let unread = [Unread(5), Event::Password(0), Distrust(1), Pass(0)];
    let events = then(&[&begin[..], &unread].concat(), 5);
    let matters = |it: &Event| matches!(it, Unread(_));
    assert_found_by(matters, Mutant::ForgetsLeakedPassword, &events, alone);

    let broken = [
        Event::Password(2),
        Distrust(1),
        Pass(0),
        Event::Password(0),
        Pass(0),
    ];
    let events = then(&[&begin[..], &broken].concat(), 5);
    let matters = |it: &Event| matches!(it, Event::Password(2));
    assert_found_by(matters, Mutant::ForgetsLeakedPassword, &events, alone);
}

/// The trust ends while the exporters' Secret must not be written; then the operator is killed, and its state is deleted.
#[test]
fn a_machine_that_calls_handled_what_it_has_not_published_is_found() {
    let begin = [
        Event::Refuse(0),
        Distrust(0),
        Pass(0),
        Kill(0),
        Event::Users(0),
        Pass(0),
        Event::Delete(0),
    ];
    let events = then(&begin, 5);
    let matters = |it: &Event| matches!(it, Event::Refuse(_));
    assert_found_by(matters, Mutant::HandledUnpublished, &events, alone);
}

#[test]
fn a_machine_that_does_not_repeat_a_refused_order_is_found() {
    let events = then(&[Order(OrderAct::Refuse), Ask(0)], 4);
    let matters = |it: &Event| matches!(it, Order(OrderAct::Refuse));
    assert_found_by(matters, Mutant::NeverOrdersAgain, &events, with_orders);
}

/// Every order is answered late, by the next pass at the earliest.
#[test]
fn a_machine_that_orders_anew_before_it_is_answered_is_found() {
    let events = then(&[Ask(0)], 2);
    let matters = |it: &Event| matches!(it, Ask(_));
    assert_found_by(matters, Mutant::OrdersAnew, &events, with_orders);
}

/// The operator dies when it has stored another order, and the issuer answers the one before.
#[test]
fn a_machine_that_takes_the_answer_to_a_stale_order_is_found() {
    let begin = [
        Order(OrderAct::Delay),
        Ask(0),
        Pass(1),
        Order(OrderAct::Change),
        Kill(1),
    ];
    let events = then(&begin, 5);
    let matters = |it: &Event| matches!(it, Order(OrderAct::Change));
    assert_found_by(matters, Mutant::TakesAnyAnswer, &events, with_orders);
}

#[test]
fn a_machine_that_asks_before_it_stores_the_key_is_found() {
    let events = then(&[Ask(0)], 2);
    let matters = |it: &Event| matches!(it, Ask(_));
    assert_found_by(matters, Mutant::RequestFirst, &events, with_orders);
}
