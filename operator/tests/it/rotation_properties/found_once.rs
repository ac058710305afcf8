//! Runs that failed once.

use secure_exporter_operator::spec::methods::Methods;

use super::{Issuer, run_with, run_with_issuer};
use crate::rotation_model::{Event, Mutant, issuer::Act};

/// Runs that were found by the dice and failed, each until its defect was mended.
#[test]
fn what_was_found_once_is_not_found_again() {
    use Event::{Ask, CutOff, Deafen, Delete, Issue, Jump, Kill, Pass, Restore, Return};
    let both = Methods::PasswordAndCertificate;
    let wait = |minutes: usize| std::iter::repeat_n(Pass(0), minutes);

    // A Secret is deleted just before it would have come to a node that cannot be asked.
    let mut events = vec![Issue(Act::NewAuthority), Ask(92), Pass(2), Deafen(0)];
    events.extend([Pass(53), Delete(217)].into_iter().chain(wait(60)));
    let outcome = run_with_issuer(
        Issuer::Person,
        1,
        Mutant::Sound,
        5_609_445_772_504_706_090,
        &events,
    );
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
