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

/// What the generators of other languages need, and where two of them would not agree on a default:
/// Go's refuses a file that does not say its package.
const LANGUAGE_OPTIONS: [&str; 7] = [
    r#"csharp_namespace = "Taffrail.V1""#,
    r#"go_package = "taffrail.dev/gen/go/taffrail/v1;taffrailv1""#,
    "java_multiple_files = true",
    "java_outer_classname = ",
    r#"java_package = "dev.taffrail.v1""#,
    r#"php_namespace = "Taffrail\\V1""#,
    r#"ruby_package = "Taffrail::V1""#,
];

fn missing_options(file: &SourceFile) -> Vec<Violation> {
    LANGUAGE_OPTIONS
        .iter()
        .filter(|option| !file.text.contains(&format!("\noption {option}")))
        .map(|option| file.violation_in_line(1, format!("`option {option}`")))
        .collect()
}

#[test]
fn every_proto_names_its_package_for_each_language() {
    assert_clean(
        files("proto/taffrail", "proto")
            .iter()
            .flat_map(missing_options),
    );
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
