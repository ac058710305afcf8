//! Schemas of fields whose types have no schema, or one that is too long.

use schemars::{Schema, SchemaGenerator, json_schema};

pub(crate) fn node_selector_map(_: &mut SchemaGenerator) -> Schema {
    bounded_map(16, 63)
}

pub(crate) fn label_map(_: &mut SchemaGenerator) -> Schema {
    bounded_map(64, 63)
}

pub(crate) fn annotation_map(_: &mut SchemaGenerator) -> Schema {
    bounded_map(64, 4096)
}

pub(crate) fn series_labels(_: &mut SchemaGenerator) -> Schema {
    bounded_map(16, 256)
}

/// Quantities by resource. Written by hand, because the description in the type's own schema is several screens long.
pub(crate) fn quantity_map(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 8,
        "additionalProperties": {
            "x-kubernetes-int-or-string": true,
            "maxLength": 32,
            "pattern": r"^\+?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$"
        }
    })
}

/// A number or a percentage. The bounds are those of the type: beyond them the operator could not read the resource.
pub(crate) fn int_or_string(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "x-kubernetes-int-or-string": true, "minimum": i32::MIN, "maximum": i32::MAX })
}

fn bounded_map(entries: u32, length: u32) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": entries,
        "additionalProperties": { "type": "string", "maxLength": length }
    })
}
