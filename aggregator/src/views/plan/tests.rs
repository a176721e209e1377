use std::path::Path;

use sallyport_config::load_text;

use super::*;

/// Compiles a view in a configuration that is otherwise sound. What was told goes with it.
pub(in crate::views) fn compile_told(view: &str) -> (Option<Arc<ViewPlan>>, String) {
    let indented: String = view.lines().map(|line| format!("    {line}\n")).collect();
    let text = format!(
        "version: 1\nlisteners: {{ main: {{ address: \"127.0.0.1:8080\" }} }}\nkafka: {{ main: {{ brokers: [\"k:9092\"] }} }}\nviews:\n  v:\n{indented}routes: [{{ match: /, respond: {{ status: 204 }} }}]\n"
    );
    match load_text("routes.yaml", &text, Path::new("."), &|_| None) {
        Ok((loaded, mut report)) => {
            let views = Views::compile(&loaded.config, &mut report);
            (views.and_then(|views| views.find("v").cloned()), report.to_string())
        }
        Err(report) => (None, report.to_string()),
    }
}

/// Compiles a view that is sound.
pub(in crate::views) fn compiled(view: &str) -> Arc<ViewPlan> {
    let (plan, told) = compile_told(view);
    plan.unwrap_or_else(|| panic!("{told}"))
}
