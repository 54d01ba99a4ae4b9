//! Columns of volumes, claims and what provides them.

use serde_json::Value;

use super::{AGE, NAME, NONE, Object, Table, UNSET, boolean, integer, joined, scalar, text, wide};

pub(super) const TABLES: &[Table] = &[
    (
        "",
        "PersistentVolume",
        &[
            NAME,
            text("Capacity", |o| quantity(o, "/spec/capacity/storage")),
            text("Access Modes", |o| access_modes(o, "/spec/accessModes")),
            text("Reclaim Policy", |o| o.text("/spec/persistentVolumeReclaimPolicy").into()),
            text("Status", phase),
            text("Claim", claim),
            text("StorageClass", class),
            text("VolumeAttributesClass", |o| o.text_or("/spec/volumeAttributesClassName", UNSET)),
            text("Reason", |o| o.text("/status/reason").into()),
            AGE,
            wide("VolumeMode", |o| o.text_or("/spec/volumeMode", UNSET)),
        ],
        &["metadata.annotations", "spec", "status"],
    ),
    (
        "",
        "PersistentVolumeClaim",
        &[
            NAME,
            text("Status", phase),
            text("Volume", |o| o.text("/spec/volumeName").into()),
            text("Capacity", |o| bound(o, |o| quantity(o, "/status/capacity/storage"))),
            text("Access Modes", |o| bound(o, |o| access_modes(o, "/status/accessModes"))),
            text("StorageClass", class),
            text("VolumeAttributesClass", |o| o.text_or("/spec/volumeAttributesClassName", UNSET)),
            AGE,
            wide("VolumeMode", |o| o.text_or("/spec/volumeMode", UNSET)),
        ],
        &["metadata.annotations", "spec", "status"],
    ),
    (
        GROUP,
        "StorageClass",
        &[
            text("Name", |o| {
                default_name(
                    o,
                    &[
                        "storageclass.kubernetes.io/is-default-class",
                        "storageclass.beta.kubernetes.io/is-default-class",
                    ],
                )
            }),
            text("Provisioner", |o| o.text("/provisioner").into()),
            text("ReclaimPolicy", |o| o.text_or("/reclaimPolicy", "Delete")),
            text("VolumeBindingMode", |o| o.text_or("/volumeBindingMode", "Immediate")),
            text("AllowVolumeExpansion", |o| o.flag("/allowVolumeExpansion").into()),
            AGE,
        ],
        &[
            "metadata.annotations",
            "provisioner",
            "reclaimPolicy",
            "volumeBindingMode",
            "allowVolumeExpansion",
        ],
    ),
    (
        GROUP,
        "VolumeAttributesClass",
        &[NAME, text("DriverName", |o| o.text("/driverName").into()), AGE],
        &["driverName"],
    ),
    (
        GROUP,
        "VolumeAttachment",
        &[
            NAME,
            text("Attacher", |o| o.text("/spec/attacher").into()),
            text("PV", |o| o.text("/spec/source/persistentVolumeName").into()),
            text("Node", |o| o.text("/spec/nodeName").into()),
            boolean("Attached", |o| o.flag("/status/attached").into()),
            AGE,
        ],
        &["spec", "status"],
    ),
    (
        GROUP,
        "CSINode",
        &[NAME, integer("Drivers", |o| o.list("/spec/drivers").len().into()), AGE],
        &["spec.drivers"],
    ),
    (
        GROUP,
        "CSIDriver",
        &[
            NAME,
            boolean("AttachRequired", |o| (*o.at("/spec/attachRequired") != false).into()),
            boolean("PodInfoOnMount", |o| o.flag("/spec/podInfoOnMount").into()),
            boolean("StorageCapacity", |o| o.flag("/spec/storageCapacity").into()),
            text("TokenRequests", token_requests),
            boolean("RequiresRepublish", |o| o.flag("/spec/requiresRepublish").into()),
            text("Modes", |o| match joined(o.list("/spec/volumeLifecycleModes"), ",").as_str() {
                "" => NONE.into(),
                modes => modes.into(),
            }),
            AGE,
        ],
        &["spec"],
    ),
    (
        GROUP,
        "CSIStorageCapacity",
        &[
            NAME,
            text("StorageClassName", |o| o.text("/storageClassName").into()),
            text("Capacity", |o| o.text_or("/capacity", UNSET)),
        ],
        &["storageClassName", "capacity"],
    ),
];

const GROUP: &str = "storage.k8s.io";

/// The name, and a word if an annotation makes it the default.
pub(super) fn default_name(object: &Object<'_>, annotations: &[&str]) -> Value {
    let held = object.at("/metadata/annotations");
    let default = annotations.iter().any(|annotation| held[*annotation] == "true");
    format!("{}{}", object.name(), if default { " (default)" } else { "" }).into()
}

/// A quantity; one that is not there is nothing at all.
fn quantity(object: &Object<'_>, pointer: &str) -> Value {
    object.text_or(pointer, "0")
}

fn phase(object: &Object<'_>) -> Value {
    if object.is_being_deleted() {
        return "Terminating".into();
    }
    object.text("/status/phase").into()
}

/// What a claim shows only once it has a volume.
fn bound(claim: &Object<'_>, cell: fn(&Object<'_>) -> Value) -> Value {
    if claim.text("/spec/volumeName").is_empty() { "".into() } else { cell(claim) }
}

fn access_modes(object: &Object<'_>, pointer: &str) -> Value {
    let held = object.list(pointer);
    let short = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let shown = short.iter().filter(|(long, _)| held.iter().any(|mode| mode == long));
    shown.map(|(_, short)| *short).collect::<Vec<_>>().join(",").into()
}

fn claim(volume: &Object<'_>) -> Value {
    let claim = volume.at("/spec/claimRef");
    if !claim.is_object() {
        return "".into();
    }
    format!("{}/{}", scalar(&claim["namespace"]), scalar(&claim["name"])).into()
}

fn class(object: &Object<'_>) -> Value {
    let annotation = &object.at("/metadata/annotations")["volume.beta.kubernetes.io/storage-class"];
    match annotation.as_str() {
        Some(class) => class.into(),
        None => object.text("/spec/storageClassName").into(),
    }
}

fn token_requests(driver: &Object<'_>) -> Value {
    if !driver.at("/spec/tokenRequests").is_array() {
        return UNSET.into();
    }
    let audiences = driver.list("/spec/tokenRequests").iter().map(|t| scalar(&t["audience"]));
    audiences.collect::<Vec<_>>().join(",").into()
}
