//! The committed golden cases: schedules and parameter groups; perceptual and adversarial training.

use std::path::Path;

#[test]
fn schedules_and_parameter_groups_agree_with_the_published_trainer() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../var-tokenizer/tests/golden/sched");
    let checks = var_train::golden::check(&folder).unwrap();
    let failed: Vec<_> = checks.iter().filter(|c| !c.pass).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(checks.len(), 5);
}

#[test]
fn losses_weights_distances_and_steps_agree_with_the_published_trainers() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for (case, count) in [
        ("diffaug", 12),
        ("disc", 50),
        ("losses", 18),
        ("lpips_grad", 17),
        ("scale_dropout", 6),
        ("step", 60),
        ("weight", 2),
    ] {
        let checks = var_train::golden::check(&golden.join(case)).unwrap();
        let failed: Vec<_> = checks.iter().filter(|c| !c.pass).collect();
        assert!(failed.is_empty(), "{failed:#?}");
        assert!(checks.len() >= count, "{case}: {} checks", checks.len());
    }
}
