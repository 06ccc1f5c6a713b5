//! The committed golden case of schedules and parameter groups.

use std::path::Path;

#[test]
fn schedules_and_parameter_groups_agree_with_the_published_trainer() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../var-tokenizer/tests/golden/sched");
    let checks = var_train::golden::check(&folder).unwrap();
    let failed: Vec<_> = checks.iter().filter(|c| !c.pass).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(checks.len(), 5);
}
