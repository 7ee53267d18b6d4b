//! [`execute`]: all steps of a plan, or none.

use super::step::Step;
use umacvlan_api::Problem;

/// Takes the steps in order. If one fails, those before it are undone, the last one first.
///
/// # Errors The step that failed, and each step that could not be undone.
pub fn execute(
    steps: &[Step],
    mut act: impl FnMut(&Step) -> Result<(), Problem>,
) -> Result<(), Problem> {
    for (at, step) in steps.iter().enumerate() {
        if let Err(problem) = act(step) {
            let undone: Vec<String> = steps
                .iter()
                .take(at)
                .rev()
                .map(Step::inverse)
                .filter_map(|inverse| Some(format!("{inverse}: {}", act(&inverse).err()?)))
                .collect();
            return Err(failure(step, problem, &undone));
        }
    }
    Ok(())
}

fn failure(step: &Step, problem: Problem, failures: &[String]) -> Problem {
    let end = match failures {
        [] => "everything is as it was before".to_owned(),
        _ => format!("and this could not be undone: {}", failures.join("; ")),
    };
    let message = format!("{step}: {}; {end}", problem.message);
    Problem { message, ..problem }
}
