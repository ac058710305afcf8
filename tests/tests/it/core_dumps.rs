//! A core dump would write the keys in memory to a disk, so there must be none.

use std::{fs, time::Duration};

use anyhow::{Context, Result};
use testbed::{operator::Stage, slot::Slot, wait::wait_until};

#[test]
fn the_operator_leaves_no_core_dump() -> Result<()> {
    let stage = Stage::new(&Slot::shared(), "core-dumps")?;
    let mut operator = stage.operator()?;
    let file = format!("/proc/{}/limits", operator.id());
    wait_until("core dumps to be off", Duration::from_secs(20), || {
        operator.check()?;
        let limits = fs::read_to_string(&file)?;
        let line = limits
            .lines()
            .find(|it| it.starts_with("Max core file size"));
        let words: Vec<&str> = line.context("no such limit")?.split_whitespace().collect();
        // The soft and the hard limit.
        Ok((words.get(4..6) == Some(&["0", "0"])).then_some(()))
    })
}
