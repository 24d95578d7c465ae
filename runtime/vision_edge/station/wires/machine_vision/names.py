"""The names of OPC 40100-1 that a station uses: types with their fields, states and methods.

They are written from the specification's tables (sections 7, 8, 11 and 12). The same names are
looked for in the official NodeSet, and made in the station's own model where none is given.
"""

from __future__ import annotations

OFFICIAL = "http://opcfoundation.org/UA/MachineVision"
"""Namespace of the official NodeSet."""
OWN = "urn:vision-edge:machine-vision"
"""Namespace of the station's own model, with the same names."""

Fields = tuple[tuple[str, str, bool], ...]
"""Name, data type, and whether it is optional; a type that ends with `[]` is a list."""
_BINARY_ID: Fields = (
    ("Id", "TrimmedString", False), ("Version", "TrimmedString", True),
    ("Hash", "ByteString", True), ("HashAlgorithm", "String", True),
    ("Description", "LocalizedText", True),
)  # fmt: skip
_NAMED_ID: Fields = (("Id", "TrimmedString", False), ("Description", "LocalizedText", True))
_PLAIN_ID: Fields = (("Id", "TrimmedString", False),)
BASIC_TYPES = {"ResultStateDataType": "Int32"}
ENUMS = {"TriStateBooleanDataType": ("FALSE_0", "TRUE_1", "DONTCARE_2")}
STRUCTURES: dict[str, Fields] = {
    "RecipeIdExternalDataType": _BINARY_ID,
    "RecipeIdInternalDataType": _BINARY_ID,
    "ConfigurationIdDataType": _BINARY_ID,
    "ProductIdDataType": _NAMED_ID,
    "PartIdDataType": _NAMED_ID,
    "MeasIdDataType": _NAMED_ID,
    "JobIdDataType": _PLAIN_ID,
    "ResultIdDataType": _PLAIN_ID,
    "ProcessingTimesDataType": (
        ("StartTime", "UtcTime", False), ("EndTime", "UtcTime", False),
        ("AcquisitionDuration", "Duration", True), ("ProcessingDuration", "Duration", True),
    ),
    "ResultDataType": (
        ("ResultId", "ResultIdDataType", False), ("HasTransferableDataOnFile", "Boolean", True),
        ("IsPartial", "Boolean", False), ("IsSimulated", "Boolean", True),
        ("ResultState", "ResultStateDataType", False), ("MeasId", "MeasIdDataType", True),
        ("PartId", "PartIdDataType", True), ("ExternalRecipeId", "RecipeIdExternalDataType", True),
        ("InternalRecipeId", "RecipeIdInternalDataType", False),
        ("ProductId", "ProductIdDataType", True),
        ("ExternalConfigurationId", "ConfigurationIdDataType", True),
        ("InternalConfigurationId", "ConfigurationIdDataType", False),
        ("JobId", "JobIdDataType", False), ("CreationTime", "UtcTime", False),
        ("ProcessingTimes", "ProcessingTimesDataType", True),
        ("ResultContent", "BaseDataType[]", True),
    ),
}  # fmt: skip
RESULT_PARTS = (
    "ResultId", "IsPartial", "ResultState", "JobId", "CreationTime", "InternalRecipeId",
    "InternalConfigurationId",
)  # fmt: skip
"""Fields of a result that are variables of their own below it."""

STATES = {
    "VisionStateMachineType": {"Preoperational": 1, "Halted": 2, "Error": 3, "Operational": 4},
    "VisionAutomaticModeStateMachineType": {
        "Initialized": 5, "Ready": 6, "SingleExecution": 7, "ContinuousExecution": 8,
    },
}  # fmt: skip
"""By type of state machine, the number of each state."""

Arguments = tuple[tuple[str, str], ...]
_ERROR: Arguments = (("Error", "Int32"),)
_CAUSE: Arguments = (("Cause", "Int32"), ("CauseDescription", "String"))
_PAGE: Arguments = (("MaxResults", "UInt32"), ("StartIndex", "UInt32"), ("Timeout", "Int32"))
_BY_ID: Arguments = (("ResultId", "ResultIdDataType"), ("Timeout", "Int32"))
_RECIPE: Arguments = (
    ("ExternalId", "RecipeIdExternalDataType"), ("InternalIdIn", "RecipeIdInternalDataType"),
)  # fmt: skip
_JOB: Arguments = (
    ("MeasId", "MeasIdDataType"), ("PartId", "PartIdDataType"),
    ("RecipeId", "RecipeIdExternalDataType"), ("ProductId", "ProductIdDataType"),
    ("Parameters", "BaseDataType[]"),
)  # fmt: skip
_STARTED: Arguments = (("JobId", "JobIdDataType"), *_ERROR)
_PRODUCT: Arguments = (("ProductId", "ProductIdDataType"),)
_INTERNAL: Arguments = (("InternalId", "RecipeIdInternalDataType"), *_ERROR)
METHODS: dict[str, dict[str, tuple[Arguments, Arguments]]] = {
    "VisionStateMachineType": {"Halt": (_CAUSE, _ERROR), "Reset": (_CAUSE, _ERROR)},
    "VisionAutomaticModeStateMachineType": {
        "StartSingleJob": (_JOB, _STARTED), "StartContinuous": (_JOB, _STARTED),
        "Stop": (_CAUSE, _ERROR), "Abort": (_CAUSE, _ERROR),
    },
    "ResultManagementType": {
        "GetResultById": (
            _BY_ID, (("ResultHandle", "Handle"), ("Result", "ResultDataType"), *_ERROR),
        ),
        "GetResultComponentsById": (
            _BY_ID,
            (
                ("HasTransferableDataOnFile", "Boolean"), ("ResultHandle", "Handle"),
                *((name, kind) for name, kind, _ in STRUCTURES["ResultDataType"][2:]), *_ERROR,
            ),
        ),
        "GetResultListFiltered": (
            (
                ("ResultState", "ResultStateDataType"), ("MeasId", "MeasIdDataType"),
                ("PartId", "PartIdDataType"), ("ExternalRecipeId", "RecipeIdExternalDataType"),
                ("InternalRecipeId", "RecipeIdInternalDataType"),
                ("ExternalConfigurationId", "ConfigurationIdDataType"),
                ("InternalConfigurationId", "ConfigurationIdDataType"),
                ("ProductId", "ProductIdDataType"), ("JobId", "JobIdDataType"), *_PAGE,
            ),
            (
                ("IsComplete", "Boolean"), ("ResultCount", "UInt32"), ("ResultHandle", "Handle"),
                ("ResultList", "ResultDataType[]"), *_ERROR,
            ),
        ),
    },
    "RecipeManagementType": {
        "GetRecipeListFiltered": (
            (
                ("ExternalId", "RecipeIdExternalDataType"), ("ProductId", "ProductIdDataType"),
                ("IsPrepared", "TriStateBooleanDataType"), *_PAGE,
            ),
            (
                ("IsComplete", "Boolean"), ("ResultCount", "UInt32"), ("RecipeHandle", "Handle"),
                ("RecipeList", "RecipeIdInternalDataType[]"), *_ERROR,
            ),
        ),
        "PrepareRecipe": (
            _RECIPE,
            (
                ("InternalIdOut", "RecipeIdInternalDataType"), ("IsCompleted", "Boolean"), *_ERROR,
            ),
        ),
        "UnprepareRecipe": (
            _RECIPE, (("InternalIdOut", "RecipeIdInternalDataType"), *_ERROR),
        ),
        "PrepareProduct": (_PRODUCT, _INTERNAL),
        "UnprepareProduct": (_PRODUCT, _INTERNAL),
    },
}  # fmt: skip
"""By type, each method's arguments in and out."""
OPTIONAL_METHODS = ("PrepareProduct", "UnprepareProduct")
"""Methods that an object of their type need not have; the station's have them."""

COMPONENTS = {
    "VisionSystemType": (
        ("VisionStateMachine", "VisionStateMachineType"),
        ("ResultManagement", "ResultManagementType"),
        ("RecipeManagement", "RecipeManagementType"),
    ),
    "VisionStateMachineType": (
        ("AutomaticModeStateMachine", "VisionAutomaticModeStateMachineType"),
    ),
    "ResultManagementType": (("Results", "ResultFolderType"),),
}
"""By type, its objects: name and type."""
EVENTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "StateChangedEventType": ("TransitionEventType", ()),
    "JobStartedEventType": ("BaseEventType", ("JobId",)),
    "ReadyEventType": ("BaseEventType", ("JobId",)),
    "RecipePreparedEventType": ("BaseEventType", ("ExternalId", "InternalId", "ProductId")),
    "ResultReadyEventType": (
        "BaseEventType", tuple(name for name, _, _ in STRUCTURES["ResultDataType"]),
    ),
}  # fmt: skip
"""By type of event, what it is a kind of, and its properties."""
EVENT_KINDS = {
    **{name: kind for name, kind, _ in STRUCTURES["ResultDataType"]},
    "ExternalId": "RecipeIdExternalDataType",
    "InternalId": "RecipeIdInternalDataType",
}
"""Data types of events' properties."""
NEEDED = (
    *COMPONENTS, *METHODS, "ResultFolderType", "ResultType", *EVENTS, *STRUCTURES, *BASIC_TYPES,
    *ENUMS,
)  # fmt: skip
"""Every type that a NodeSet must have."""
