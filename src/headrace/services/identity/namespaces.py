"""What an identity namespace is, and those that every organisation has."""

from dataclasses import dataclass

_INTRODUCED = 1_551_688_425_455
"""When the standard namespaces came to be, in milliseconds since the epoch."""

ID_TYPES = frozenset(
    {
        "COOKIE", "CROSS_DEVICE", "DEVICE", "EMAIL", "MOBILE", "NON_PEOPLE", "PHONE", "PHONE_NUMBER",
        "B2B_ACCOUNT", "B2B_ACCOUNT_PERSON", "B2B_CAMPAIGN", "B2B_CAMPAIGN_MEMBER",
        "B2B_MARKETING_LIST", "B2B_MARKETING_LIST_MEMBER", "B2B_OPPORTUNITY",
        "B2B_OPPORTUNITY_PERSON",
    }
)  # fmt: skip
"""What an identity can identify; letter case does not count."""


@dataclass(frozen=True, slots=True)
class Namespace:
    """`kind` is Standard, Integration or Custom; `created` and `updated` are milliseconds since the epoch.

    `hash_function` and `transform` say how values were made before they arrive; empty where they are raw.
    """

    id: int
    code: str
    name: str
    id_type: str
    kind: str
    description: str = ""
    hash_function: str = ""
    transform: str = ""
    created: int = _INTRODUCED
    updated: int = _INTRODUCED


def _standard(
    id: int,
    code: str,
    name: str,
    id_type: str,
    text: str,
    hash_function: str = "",
    transform: str = "",
) -> Namespace:
    return Namespace(id, code, name, id_type, "Standard", text, hash_function, transform)


def _integration(id: int, code: str, name: str, id_type: str, text: str) -> Namespace:
    return Namespace(id, code, name, id_type, "Integration", text)


# The spelling of idType differs between entries on the wire, too.
STANDARD: tuple[Namespace, ...] = (
    _standard(0, "CORE", "CORE", "COOKIE", "Adobe Audience Manager UUID"),
    _standard(4, "ECID", "ECID", "COOKIE", "Adobe Experience Cloud ID"),
    _standard(6, "Email", "Email", "Email", "Email address"),
    _standard(7, "Phone", "Phone", "PHONE_NUMBER", "Phone number"),
    _standard(8, "WAID", "Windows AID", "DEVICE", "Windows advertising ID"),
    _standard(9, "TNTID", "Adobe Target (TNTID)", "COOKIE", "Adobe Target ID"),
    _standard(10, "AAID", "Adobe Analytics (Legacy ID)", "COOKIE", "Adobe Analytics legacy ID"),
    _standard(
        11, "Email_LC_SHA256", "Emails (SHA256, lowercased)", "Email",
        "SHA-256 of an email address, trimmed and in lower case",
        hash_function="SHA256", transform="lowercase",
    ),
    _integration(
        13, "AAMSegments", "Adobe Audience Manager segments", "NON_PEOPLE",
        "Segments of Audience Manager",
    ),
    _integration(
        14, "AAMTraits", "Adobe Audience Manager traits", "NON_PEOPLE",
        "Traits of Audience Manager",
    ),
    _standard(
        15, "Phone_SHA256", "Phone (SHA256)", "Phone",
        "SHA-256 of a phone number: digits only, country code first, no leading zeros",
        hash_function="SHA256",
    ),
    _integration(16, "AEPSegments", "Platform segments", "NON_PEOPLE", "Segments of the platform"),
    _standard(
        17, "Phone_E.164", "Phone (E.164)", "Phone",
        "Phone number in E.164 format with the plus sign",
    ),
    _standard(
        18, "Phone_SHA256_E.164", "Phone (SHA256_E.164)", "Phone",
        "SHA-256 of a phone number in E.164 format", hash_function="SHA256",
    ),
    _integration(269, "MediaMath", "Media Math", "COOKIE", "ID syncing with MediaMath"),
    _integration(358, "AppNexus", "AppNexus", "COOKIE", "ID syncing with AppNexus"),
    _standard(411, "AdCloud", "Adobe Advertising Cloud", "COOKIE", "Adobe Advertising Cloud ID"),
    _integration(771, "Google", "Google", "COOKIE", "ID syncing with Google"),
    _integration(903, "TradeDesk", "TradeDesk", "COOKIE", "ID syncing with The Trade Desk"),
    _integration(1957, "MicrosoftBing", "Microsoft Bing", "COOKIE", "ID syncing with Bing"),
    _standard(20914, "GAID", "Google Ad ID (GAID)", "DEVICE", "Google advertising ID"),
    _standard(
        20915, "IDFA", "Apple IDFA (ID for Advertisers)", "DEVICE", "Apple ID for advertisers"
    ),
    _standard(
        20919, "FCM", "Firebase Cloud Messaging", "DEVICE", "Push notifications through Google"
    ),
    _standard(
        20920, "APNS", "Apple Push Notification service", "DEVICE",
        "Push notifications through Apple",
    ),
)  # fmt: skip
"""In order of id."""

STANDARD_BY_ID = {namespace.id: namespace for namespace in STANDARD}
STANDARD_CODES = frozenset(namespace.code.lower() for namespace in STANDARD)
