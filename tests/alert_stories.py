"""For each alert a story in which it fires and one in which it keeps quiet, as promtool writes series (a value each 15 s)."""

from __future__ import annotations

from typing import NamedTuple


class Story(NamedTuple):
    """Series of the loud and of the quiet story; the last value lasts until the end."""

    alert: str
    after: str
    loud: dict[str, str]
    quiet: dict[str, str]


STORIES = (
    Story("CoolctlDown", "2m", {'up{job="coolctl", instance="a"}': "0x20"}, {'up{job="coolctl", instance="a"}': "1x20"}),
    Story("CoolctlLoopStopped", "1m", {'coolctl_ticks_total{site="s"}': "0+3x20"}, {'coolctl_ticks_total{site="s"}': "0+15x20"}),
    Story(
        "CoolctlDeadlineMissed",
        "5m",
        {'coolctl_deadline_misses_total{site="s"}': "0+1x60"},
        {'coolctl_deadline_misses_total{site="s"}': "0x60"},
    ),
    Story(
        "CoolctlEmergency",
        "0m",
        {'coolctl_mode{site="s", mode="emergency"}': "1x20"},
        {'coolctl_mode{site="s", mode="emergency"}': "0x20"},
    ),
    Story(
        "CoolctlInletAboveLimit",
        "2m",
        {'coolctl_rack_inlet_max_celsius{site="s"}': "27x40", 'coolctl_rack_inlet_limit_celsius{site="s"}': "26x40"},
        {'coolctl_rack_inlet_max_celsius{site="s"}': "26.2x40", 'coolctl_rack_inlet_limit_celsius{site="s"}': "26x40"},
    ),
    Story(
        "CoolctlInletAboveAllowable",
        "0m",
        {'coolctl_rack_inlet_max_celsius{site="s"}': "33x40"},
        {'coolctl_rack_inlet_max_celsius{site="s"}': "31x40"},
    ),
    Story(
        "CoolctlRideThroughShort",
        "5m",
        {'coolctl_ride_through_seconds{site="s"}': "60x60"},
        {'coolctl_ride_through_seconds{site="s"}': "600x60"},
    ),
    Story(
        "CoolctlNoRedundancy",
        "10m",
        {'coolctl_single_failure_capability_ratio{site="s"}': "0.9x80"},
        {'coolctl_single_failure_capability_ratio{site="s"}': "1.2x80"},
    ),
    Story(
        "CoolctlFallbackActive",
        "15m",
        {'coolctl_granted_mode{site="s", mode="auto"}': "1x120", 'coolctl_mode{site="s", mode="fallback"}': "1x120"},
        {'coolctl_granted_mode{site="s", mode="auto"}': "1x120", 'coolctl_mode{site="s", mode="fallback"}': "0x120"},
    ),
    Story(
        "CoolctlReleased",
        "15m",
        {'coolctl_granted_mode{site="s", mode="auto"}': "1x120", 'coolctl_mode{site="s", mode="release"}': "1x120"},
        {'coolctl_granted_mode{site="s", mode="auto"}': "1x120", 'coolctl_mode{site="s", mode="release"}': "0x120"},
    ),
    Story(
        "CoolctlGatewaySilent",
        "1m",
        {'coolctl_gateway_age_seconds{site="s"}': "20x40"},
        {'coolctl_gateway_age_seconds{site="s"}': "0.5x40"},
    ),
    Story(
        "CoolctlSetpointNotFollowed",
        "5m",
        {
            'coolctl_setpoint{site="s", point="sat_sp", unit="celsius", stage="applied"}': "18x60",
            'coolctl_setpoint{site="s", point="sat_sp", unit="celsius", stage="shielded"}': "24x60",
        },
        {
            'coolctl_setpoint{site="s", point="sat_sp", unit="celsius", stage="applied"}': "24x60",
            'coolctl_setpoint{site="s", point="sat_sp", unit="celsius", stage="shielded"}': "24x60",
        },
    ),
    Story(
        "CoolctlDeaf",
        "1m",
        {'coolctl_broker_connected_ratio{site="s"}': "1x40", 'coolctl_mqtt_messages_total{site="s"}': "7x40"},
        {'coolctl_broker_connected_ratio{site="s"}': "1x40", 'coolctl_mqtt_messages_total{site="s"}': "0+15x40"},
    ),
    Story(
        "CoolctlBrokerLost",
        "1m",
        {'coolctl_broker_connected_ratio{site="s"}': "0x40"},
        {'coolctl_broker_connected_ratio{site="s"}': "1x40"},
    ),
    Story(
        "CoolctlBrokerFlapping",
        "10m",
        {'coolctl_mqtt_connects_total{site="s"}': "0+1x120"},
        {'coolctl_mqtt_connects_total{site="s"}': "1x120"},
    ),
    Story(
        "CoolctlMessagesRefused",
        "5m",
        {'coolctl_rejects_total{site="s", reason="keys"}': "0+5x60"},
        {'coolctl_rejects_total{site="s", reason="keys"}': "3x60"},
    ),
    Story(
        "CoolctlSensorsStale",
        "5m",
        {'coolctl_point_quality_code{site="s", point="a"}': "3x60", 'coolctl_point_quality_code{site="s", point="b"}': "1x60"},
        {'coolctl_point_quality_code{site="s", point="a"}': "1x60", 'coolctl_point_quality_code{site="s", point="b"}': "1x60"},
    ),
    Story(
        "CoolctlPointsDoubted",
        "30m",
        {'coolctl_doubted_points_ratio{site="s"}': "0.02x240"},
        {'coolctl_doubted_points_ratio{site="s"}': "0x240"},
    ),
    Story(
        "CoolctlLoopSick", "30m", {'coolctl_loop_sick_ratio{site="s"}': "1x240"}, {'coolctl_loop_sick_ratio{site="s"}': "0x240"}
    ),
    Story(
        "CoolctlSetpointWithoutEffect",
        "1m",
        {'coolctl_setpoint_without_effect_ratio{site="s"}': "1x60"},
        {'coolctl_setpoint_without_effect_ratio{site="s"}': "0x60"},
    ),
    Story(
        "CoolctlHallSuspect",
        "1h",
        {'coolctl_hall_suspect_ratio{site="s"}': "1x400"},
        {'coolctl_hall_suspect_ratio{site="s"}': "0x400"},
    ),
    Story(
        "CoolctlModelDrift",
        "6h",
        {'coolctl_model_power_watts{site="s"}': "140x2000", 'coolctl_cooling_power_watts{site="s"}': "100x2000"},
        {'coolctl_model_power_watts{site="s"}': "105x2000", 'coolctl_cooling_power_watts{site="s"}': "100x2000"},
    ),
    Story(
        "CoolctlInvariantBroken",
        "0m",
        {'coolctl_invariant_violations_total{site="s", invariant="I-01"}': "0x5 1x60"},
        {'coolctl_invariant_violations_total{site="s", invariant="I-01"}': "3x60"},
    ),
    Story(
        "CoolctlPolicyMissing",
        "5m",
        {'coolctl_build_info{model="", version="1"}': "1x60"},
        {'coolctl_build_info{model="abc", version="1"}': "1x60"},
    ),
    Story(
        "CoolctlRecorderStopped",
        "1m",
        {'coolctl_recorder_ok_ratio{site="s"}': "0x40"},
        {'coolctl_recorder_ok_ratio{site="s"}': "1x40"},
    ),
    Story(
        "CoolctlProcessGrows",
        "10m",
        {'process_resident_memory_bytes{job="coolctl", instance="a"}': "2e8+1e7x120"},
        {
            'process_resident_memory_bytes{job="other", instance="a"}': "9e8x120",
            'process_resident_memory_bytes{job="coolctl", instance="a"}': "5e8x120",
            'process_open_fds{job="coolctl", instance="a"}': "40x120",
            'process_max_fds{job="coolctl", instance="a"}': "1024x120",
        },
    ),
    Story(
        "CoolctlReloadRefused",
        "0m",
        {'coolctl_config_last_reload_successful_ratio{site="s"}': "0x40"},
        {'coolctl_config_last_reload_successful_ratio{site="s"}': "1x40"},
    ),
    Story(
        "CoolctlHeldSetpoints",
        "12h",
        {'coolctl_held_setpoints_ratio{site="s"}': "0.1x3000"},
        {'coolctl_held_setpoints_ratio{site="s"}': "0x3000"},
    ),
    Story(
        "CoolctlCertificateExpires",
        "1h",
        {'coolctl_broker_certificate_expiry_timestamp_seconds{site="s"}': "86400x400"},
        {'coolctl_broker_certificate_expiry_timestamp_seconds{site="s"}': "9999999x400"},
    ),
    Story(
        "CoolctlClientCertificateExpires",
        "1h",
        {'coolctl_client_certificate_expiry_timestamp_seconds{site="s"}': "86400x400"},
        {'coolctl_client_certificate_expiry_timestamp_seconds{site="s"}': "9999999x400"},
    ),
    Story(
        "CoolctlGatewayCertificateExpires",
        "1h",
        {'coolctl_gateway_certificate_expiry_timestamp_seconds{site="s"}': "86400x400"},
        {'coolctl_gateway_certificate_expiry_timestamp_seconds{site="s"}': "9999999x400"},
    ),
    Story(
        "CoolctlWriteRefused",
        "1m",
        {'coolctl_gateway_write_refused_ratio{site="s"}': "1x400"},
        {'coolctl_gateway_write_refused_ratio{site="s"}': "0x400"},
    ),
)
