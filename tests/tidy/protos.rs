//! The API's documentation is in the `.proto` files, so everything there has some.

use crate::source::{SourceFile, Violation, assert_clean, files, lines_found};

/// Services, calls, messages, fields, enums and their values without a comment directly above.
fn undocumented(file: &SourceFile) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut commented = false;
    let mut in_statement = false;
    for (at, line) in file.text.lines().enumerate() {
        let line = line.trim();
        let is_comment = line.starts_with("//");
        if !is_comment && !in_statement && !commented && is_declaration(line) {
            found.push(file.violation_in_line(
                at + 1,
                format!("a comment above `{line}`: units, defaults, bounds, errors"),
            ));
        }
        commented = is_comment;
        in_statement = !is_comment && !line.is_empty() && !line.ends_with([';', '{', '}']);
    }
    found
}

fn is_declaration(line: &str) -> bool {
    let word = line.split([' ', '=', ';']).next().unwrap_or_default();
    !matches!(
        word,
        "" | "}" | "syntax" | "package" | "import" | "option" | "reserved" | "extensions"
    )
}

#[test]
fn everything_in_the_protos_is_documented() {
    assert_clean(files("proto", "proto").iter().flat_map(undocumented));
}

#[test]
fn whatever_lacks_a_comment_is_found() {
    let text = "\
syntax = \"proto3\";
import \"a.proto\";
service A {
  // Documented.
  rpc B(C)
      returns (D);
  rpc E(C) returns (D);
}
// Documented.
message C {
  // Documented.
  string f = 1;
  string g = 2;

  // Not directly above.

  oneof h {
    // Documented.
    int32 i = 3;
    int32 j = 4;
  }
}
enum K {
  K_UNSPECIFIED = 0;
}
";
    assert_eq!(
        lines_found(undocumented(&SourceFile::new("proto/a.proto", text))),
        [3, 7, 13, 17, 20, 23, 24]
    );
}
