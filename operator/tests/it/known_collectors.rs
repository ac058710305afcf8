//! The operator refuses collectors that the exporter does not have, so both lists must be equal.

use secure_exporter::collectors::TABLE;
use secure_exporter_operator::api::KNOWN_COLLECTORS;

#[test]
fn the_operator_knows_the_exporters_collectors() {
    let of_exporter: Vec<&str> = TABLE.iter().map(|spec| spec.name).collect();
    assert_eq!(KNOWN_COLLECTORS.as_slice(), of_exporter);
}
