//! What `completions` prints, given to a real shell.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::process::Command;

use ior_tests::binary;

#[test]
fn bash_completes_commands_options_and_values() {
    assert_eq!(completed("ior-bridge che"), ["check"]);
    assert_eq!(completed("ior-bridge store sal"), ["salvage"]);
    assert_eq!(completed("ior-bridge check --js"), ["--json"]);
    assert_eq!(completed("ior-bridge credentials --format mosq"), ["mosquitto"]);
}

#[test]
fn an_unknown_shell_is_wrong_usage_that_names_the_known_ones() {
    let output = Command::new(binary()).args(["completions", "tcsh"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("bash, zsh, fish"), "{error}");
}

/// What bash offers for the last word of a command line.
fn completed(line: &str) -> Vec<String> {
    let script = r#"
        eval "$("$1" completions bash)"
        read -ra COMP_WORDS <<<"$2"
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        function_name=$(complete -p ior-bridge | sed 's/.* -F \([^ ]*\) .*/\1/')
        "$function_name" ior-bridge "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let output = Command::new("bash").args(["-c", script, "bash"]).arg(binary()).arg(line).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}
