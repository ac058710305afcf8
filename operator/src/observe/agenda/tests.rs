use std::collections::BTreeMap;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn pace() -> Pace {
    Pace::of(&Timers::default())
}

fn topic(serial_number: &str) -> Topic {
    Topic {
        daemon_set: "set".to_owned(),
        generation: 1,
        serial_number: serial_number.to_owned(),
        is_asked: true,
    }
}

fn pod(node: &str, ready: bool) -> Arc<ExporterPod> {
    Arc::new(ExporterPod {
        uid: format!("pod-on-{node}"),
        controller: Some("set".to_owned()),
        node: Some(node.to_owned()),
        ready,
        address: "192.0.2.1:9100".parse().ok(),
        is_terminating: false,
        complaints: Vec::new(),
    })
}

fn answer(serial_number: &str) -> Option<Answer> {
    Some(Answer {
        serial_number: serial_number.to_owned(),
        verified_by: BTreeSet::new(),
        accepted: Some(BTreeMap::new()),
        uptime: SignedDuration::ZERO,
    })
}

/// The agenda of these ready nodes, of which nobody has been asked.
fn agenda(nodes: &[&str], now: Instant) -> Agenda {
    let mut agenda = Agenda::new(topic("1"), pace());
    let pods: Vec<_> = nodes.iter().map(|node| pod(node, true)).collect();
    agenda.meet(&pods, now);
    agenda
}

/// Asks everybody who is due. Returns how many, and whether a pass should look.
fn ask(
    agenda: &mut Agenda,
    now: Instant,
    answers: impl Fn(&str) -> Option<Answer>,
) -> (usize, bool) {
    let mut is_news = false;
    let due = agenda.take_due(usize::MAX, now);
    for one in &due {
        let node = one.pod.trim_start_matches("pod-on-");
        is_news |= agenda.answered(&one.pod, now, answers(node), now);
    }
    (due.len(), is_news)
}

/// How often the exporters are asked within this time, and the longest pause.
fn asked_within(agenda: &mut Agenda, begin: Instant, time: Duration) -> (usize, Duration) {
    let (mut now, mut count, mut longest) = (begin, 0, Duration::ZERO);
    while let Some(next) = agenda.next_due(now)
        && next < begin + time
    {
        longest = longest.max(next - now);
        now = next;
        let (asked, is_news) = ask(agenda, now, |node| answer("1").filter(|_| node != "dead"));
        assert!(asked > 0, "woken for nothing");
        assert!(!is_news, "a pass for an answer that says nothing new");
        count += asked;
    }
    (count, longest)
}

fn held(nodes: &[&str]) -> Option<BTreeSet<String>> {
    Some(nodes.iter().map(|node| (*node).to_owned()).collect())
}

#[test]
fn a_dead_node_costs_ever_less_and_the_others_are_asked_no_more_often_for_it() {
    let start = Instant::now();
    let mut agenda = agenda(&["a", "b", "dead"], start);
    let (asked, is_news) = ask(&mut agenda, start, |node| {
        answer("1").filter(|_| node != "dead")
    });
    assert_eq!((asked, is_news), (3, true), "the evidence is complete");
    agenda.direct(topic("1"), held(&["dead"]), start);

    let (first, _) = asked_within(&mut agenda, start, MINUTE);
    assert_eq!(first, 4, "at once, and then every 15 s");
    let day = start + 24 * 60 * MINUTE;
    asked_within(&mut agenda, start + MINUTE, 24 * 60 * MINUTE - MINUTE);
    // Each of the three once in ten minutes.
    let (per_hour, longest) = asked_within(&mut agenda, day, 60 * MINUTE);
    assert!((16..=21).contains(&per_hour), "{per_hour}");
    assert!(longest <= 10 * MINUTE, "{longest:?}");
}

#[test]
fn a_node_that_comes_back_is_asked_at_once() {
    let start = Instant::now();
    let mut agenda = agenda(&["dead"], start);
    ask(&mut agenda, start, |_| None);
    agenda.direct(topic("1"), held(&["dead"]), start);
    let day = 24 * 60 * MINUTE;
    asked_within(&mut agenda, start, day);
    let now = start + day;
    agenda.meet(&[pod("dead", false)], now);
    agenda.meet(&[pod("dead", true)], now);
    assert_eq!(ask(&mut agenda, now, |_| answer("1")), (1, true));
    // Its silence ended when it was ready.
    let evidence = agenda.evidence(now).unwrap();
    assert_eq!(evidence.exporters[0].silent_for, SignedDuration::ZERO);
}

#[test]
fn nothing_is_known_until_everybody_was_asked() {
    let start = Instant::now();
    let mut agenda = Agenda::new(topic("1"), pace());
    assert_eq!(agenda.evidence(start), None, "the pods were not read");
    agenda.meet(&[pod("a", true), pod("b", true)], start);
    assert_eq!(agenda.evidence(start), None);
    let due = agenda.take_due(1, start);
    assert!(!agenda.answered(&due[0].pod, start, answer("1"), start));
    assert_eq!(agenda.evidence(start), None);
    assert_eq!(ask(&mut agenda, start, |_| None), (1, true));
    assert_eq!(agenda.evidence(start).unwrap().exporters.len(), 2);
    agenda.meet(&[pod("a", true), pod("b", true), pod("c", true)], start);
    assert_eq!(agenda.evidence(start), None, "a new one");
}

#[test]
fn the_silence_of_a_node_that_was_down_starts_when_it_is_ready_again() {
    let start = Instant::now();
    let mut agenda = Agenda::new(topic("1"), pace());
    agenda.meet(&[pod("down", false), pod("up", true)], start);
    ask(&mut agenda, start, |_| None);
    let silence = |agenda: &Agenda, now| {
        let evidence = agenda.evidence(now).unwrap();
        let seconds = evidence.exporters.iter().map(|it| it.silent_for.as_secs());
        seconds.collect::<Vec<_>>()
    };
    assert_eq!(silence(&agenda, start + MINUTE), [0, 60]);
    agenda.meet(&[pod("down", true), pod("up", true)], start + MINUTE);
    ask(&mut agenda, start + MINUTE, |_| None);
    assert_eq!(silence(&agenda, start + 2 * MINUTE), [60, 120]);
}

#[test]
fn only_a_round_after_which_nothing_changed_is_confirmed() {
    let start = Instant::now();
    let mut agenda = agenda(&["a", "silent"], start);
    let answers = |node: &str| answer("1").filter(|_| node != "silent");
    ask(&mut agenda, start, answers);
    let is_confirmed = |agenda: &Agenda, now| {
        agenda
            .evidence(now)
            .is_some_and(|evidence| evidence.is_confirmed)
    };
    assert!(!is_confirmed(&agenda, start), "they were asked one by one");

    let later = start + SECOND;
    agenda.begin_round(later);
    let due = agenda.take_due(1, later);
    assert!(!agenda.answered(&due[0].pod, later, answer("1"), later));
    assert!(!is_confirmed(&agenda, later) && agenda.is_in_round());
    assert_eq!(
        ask(&mut agenda, later, answers),
        (1, true),
        "also the silent one"
    );
    assert!(is_confirmed(&agenda, later) && !agenda.is_in_round());
    assert!(!is_confirmed(&agenda, later + MINUTE), "it is too old");
    assert_eq!(agenda.take_due(9, later), [], "asked twice");

    agenda.meet(
        &[pod("a", true), pod("silent", true), pod("new", true)],
        later,
    );
    assert!(!is_confirmed(&agenda, later), "a pod came after the list");
    agenda.meet(&[pod("a", true), pod("silent", true)], later);
    assert!(is_confirmed(&agenda, later));
    agenda.direct(topic("2"), None, later);
    assert!(!is_confirmed(&agenda, later), "it was about something else");
}

#[test]
fn a_question_from_before_the_round_does_not_count_for_it() {
    let start = Instant::now();
    let mut agenda = agenda(&["a"], start);
    let due = agenda.take_due(1, start);
    agenda.begin_round(start + SECOND);
    assert!(agenda.answered(&due[0].pod, start, answer("1"), start + 2 * SECOND));
    let evidence = agenda.evidence(start + 2 * SECOND).unwrap();
    assert!(!evidence.is_confirmed);
    assert_eq!(
        ask(&mut agenda, start + 2 * SECOND, |_| answer("1")),
        (1, true)
    );
    assert!(agenda.evidence(start + 2 * SECOND).unwrap().is_confirmed);
}

#[test]
fn after_a_publication_everybody_is_asked_until_it_has_arrived() {
    let start = Instant::now();
    let mut agenda = agenda(&["a", "b"], start);
    ask(&mut agenda, start, |_| answer("1"));
    assert_eq!(agenda.next_due(start), Some(start + 10 * MINUTE));
    let now = start + MINUTE;
    agenda.direct(topic("2"), None, now);
    assert_eq!(
        agenda.next_due(now),
        Some(now + MINUTE),
        "not at each of many changes"
    );
    let now = now + MINUTE;
    let answers = |node: &str| answer(if node == "a" { "2" } else { "1" });
    assert_eq!(ask(&mut agenda, now, answers), (2, true));
    assert_eq!(ask(&mut agenda, now + MINUTE, answers), (1, false));
}

#[test]
fn an_answer_of_a_node_that_holds_up_a_rotation_is_looked_at() {
    let start = Instant::now();
    let mut agenda = agenda(&["a"], start);
    ask(&mut agenda, start, |_| answer("1"));
    agenda.direct(topic("1"), held(&["a"]), start);
    assert_eq!(ask(&mut agenda, start, |_| answer("1")), (1, true));
    // The same answer again: its times may have changed.
    assert_eq!(
        ask(&mut agenda, start + 15 * SECOND, |_| answer("1")),
        (1, true)
    );
}

#[test]
fn pods_of_others_and_pods_that_do_not_run_are_not_asked() {
    let start = Instant::now();
    let mut agenda = Agenda::new(topic("1"), pace());
    let foreign = ExporterPod {
        controller: Some("another".to_owned()),
        ..(*pod("foreign", true)).clone()
    };
    let waiting = ExporterPod {
        address: None,
        ..(*pod("waiting", false)).clone()
    };
    assert!(agenda.meet(&[Arc::new(foreign), Arc::new(waiting.clone())], start));
    assert_eq!(agenda.take_due(9, start), []);
    let exporters = agenda.evidence(start).unwrap().exporters;
    let nodes: Vec<&str> = exporters.iter().map(|it| it.node.as_str()).collect();
    assert_eq!(nodes, ["waiting"]);

    // What an exporter said before it stopped is not what it serves now.
    agenda.meet(&[pod("waiting", true)], start);
    ask(&mut agenda, start, |_| answer("1"));
    agenda.meet(&[Arc::new(waiting)], start);
    assert_eq!(agenda.evidence(start).unwrap().exporters[0].answer, None);
}

#[test]
fn exporters_of_an_earlier_daemon_set_are_none() {
    let start = Instant::now();
    let mut agenda = agenda(&["a"], start);
    ask(&mut agenda, start, |_| answer("1"));
    let other = Topic {
        daemon_set: "another".to_owned(),
        ..topic("1")
    };
    assert!(agenda.direct(other, None, start));
    assert_eq!(agenda.evidence(start), None);
    agenda.meet(&[pod("a", true)], start);
    assert_eq!(agenda.evidence(start).unwrap().exporters, []);
}

#[test]
fn rotations_by_time_alone_ask_nobody() {
    let start = Instant::now();
    let timed = Topic {
        is_asked: false,
        ..topic("1")
    };
    let mut agenda = Agenda::new(timed, pace());
    assert!(agenda.meet(&[pod("a", true)], start));
    assert_eq!(agenda.next_due(start), None);
    assert!(agenda.begin_round(start), "a list is enough");
    let evidence = agenda.evidence(start + MINUTE / 2).unwrap();
    assert!(evidence.is_confirmed);
    assert_eq!(evidence.exporters[0].silent_for.as_secs(), 30);
}
