//! Indented JSON in the format of `ip -p`.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;

/// A value as JSON, without a line feed at its end.
pub(super) fn to_string(value: &impl Serialize) -> serde_json::Result<String> {
    let mut bytes = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut bytes, Shape::default()))?;
    String::from_utf8(bytes).map_err(serde::ser::Error::custom)
}

/// Objects have one line per field, arrays are on one line.
#[derive(Debug, Default)]
struct Shape {
    depth: usize,
    /// The current array or object is not empty.
    filled: bool,
}

impl Shape {
    fn indent(&self, writer: &mut (impl Write + ?Sized)) -> io::Result<()> {
        write!(writer, "\n{:1$}", "", self.depth * 4)
    }
}

impl Formatter for Shape {
    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth += 1;
        self.filled = false;
        writer.write_all(b"[ ")
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth -= 1;
        writer.write_all(if self.filled { b" ]" } else { b"]" })
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.filled = true;
        Ok(())
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth += 1;
        self.filled = false;
        writer.write_all(b"{")
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth -= 1;
        if self.filled {
            self.indent(writer)?;
        }
        writer.write_all(b"}")
    }

    fn begin_object_key<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if !first {
            writer.write_all(b",")?;
        }
        self.indent(writer)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.filled = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_stand_in_a_line_and_objects_do_not() {
        let wanted = "[ {\n        \"a\": 1,\n        \"b\": {\n            \"c\": [ \"x\",\"y\" ],\n            \
                      \"d\": [ ]\n        }\n    },{\n        \"e\": {}\n    } ]";
        let value = json!([{"a": 1, "b": {"c": ["x", "y"], "d": []}}, {"e": {}}]);
        assert_eq!(to_string(&value).unwrap(), wanted);
        assert_eq!(to_string(&json!([])).unwrap(), "[ ]");
    }
}
