//! Columns of what checks and changes objects on their way in.

use serde_json::Value;

use super::{AGE, NAME, Object, Table, UNSET, integer, scalar, selector, text};

const GROUP: &str = "admissionregistration.k8s.io";

macro_rules! webhooks {
    ($kind:literal) => {
        (
            GROUP,
            $kind,
            &[NAME, integer("Webhooks", |o| o.list("/webhooks").len().into()), AGE],
            &["webhooks.name"],
        )
    };
}

macro_rules! binding {
    ($kind:literal) => {
        (
            GROUP,
            $kind,
            &[
                NAME,
                text("PolicyName", |o| o.text("/spec/policyName").into()),
                text("ParamRef", param_ref),
                AGE,
            ],
            &["spec"],
        )
    };
}

pub(super) const TABLES: &[Table] = &[
    webhooks!("MutatingWebhookConfiguration"),
    webhooks!("ValidatingWebhookConfiguration"),
    (
        GROUP,
        "ValidatingAdmissionPolicy",
        &[
            NAME,
            integer("Validations", |o| o.list("/spec/validations").len().into()),
            text("ParamKind", param_kind),
            AGE,
        ],
        &["spec"],
    ),
    (
        GROUP,
        "MutatingAdmissionPolicy",
        &[
            NAME,
            integer("Mutations", |o| o.list("/spec/mutations").len().into()),
            text("ParamKind", param_kind),
            AGE,
        ],
        &["spec"],
    ),
    binding!("ValidatingAdmissionPolicyBinding"),
    binding!("MutatingAdmissionPolicyBinding"),
];

fn param_kind(policy: &Object<'_>) -> Value {
    let kind = policy.at("/spec/paramKind");
    if !kind.is_object() {
        return UNSET.into();
    }
    format!("{}/{}", scalar(&kind["apiVersion"]), scalar(&kind["kind"])).into()
}

fn param_ref(binding: &Object<'_>) -> Value {
    let param = binding.at("/spec/paramRef");
    let (namespace, name) = (scalar(&param["namespace"]), scalar(&param["name"]));
    match (name.is_empty(), param["selector"].is_object()) {
        (false, _) if namespace.is_empty() => format!("*/{name}").into(),
        (false, _) => format!("{namespace}/{name}").into(),
        (true, true) => selector(&param["selector"]).into(),
        (true, false) => UNSET.into(),
    }
}
