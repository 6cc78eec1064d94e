/* The simulated plant's step once more, in C: what a compiler makes of the same equations in the same order.
 *
 * Written from sim_plant/physics.py, room.py and equipment/; the bench compares the states of both, so that whoever
 * changes one has to change the other. Strict: no contraction of a*b+c, no reassociation, as numba compiles kernels.
 */
#include <math.h>
#include <stddef.h>
#include <string.h>

typedef struct {
    double capacity_nom_w, cop_ref, cap[6], eir[6], plr[3], x_min_c, x_max_c, y_min_c, y_max_c, plr_min, lift_min_k,
        lift_exponent, start_s, restart_s, ramp_per_s, condenser_flow_nom_kgs, evaporator_flow_nom_kgs, evaporator_min_ratio;
} Chiller;

typedef struct {
    double air_flow_nom_kgs, fan_power_nom_w, ntu_coefficient, ntu_exponent, speed_min, cycles;
} Tower;

typedef struct {
    Chiller chiller;
    Tower tower;
    double duty, cells, chw_pumps, chw_pump_nom_kgs, chw_pump_eta, chw_pump_floor_w, chw_dp_nom_pa, chw_friction_pa,
        chw_flow_nom_kgs, cw_pumps, cw_pump_nom_kgs, cw_pump_eta, cw_pump_floor_w, cw_static_pa, cw_friction_pa, hx_present, hx_ua,
        hx_flow_nom_kgs, hx_dp_pa, hx_parallel, primary_secondary, primary_head_pa, loop_kg, buffer_kg, basin_kg;
} Plant;

enum { H_IT_NOM, H_CRAHS, H_AIR_NOM, H_FAN_W, H_FAN_EXP, H_FAN_FLOOR, H_UA, H_WATER_NOM, H_LEAK, H_RECIRC, H_MISC, H_FAN_SHARE,
       H_FAN_SLOPE, H_KNEE, H_DT, H_LEAKAGE, H_STRUCTURE, H_WORST_UA, H_BYPASS, H_MAKEUP, H_MAKEUP_HUMID, HALL_COLUMNS };
enum { X_SINK, X_CHASSIS, X_COLD, X_HOT, X_STRUCT, X_SAT, X_FAN, X_VALVE, X_SRV_FAN, X_HUMID, X_VALVE_I, X_SUPPLIED, X_SAT_OTHERS,
       X_SAT_WORST, X_VALVE_WORST, X_VALVE_I_WORST, X_ELEMENT, X_SEEN, HALL_STATES };
enum { Y_IT, Y_SRV_FAN, Y_SRV_FAN_IDLE, Y_CRAH, Y_RAT, Y_COIL, Y_WATER_KGS, Y_WATER_OUT, Y_DEMAND, Y_AISLE_DP, Y_INLET, Y_LATENT,
       HALL_OUTPUTS };
enum { S_SUPPLY1, S_SUPPLY2, S_RETURN1, S_RETURN2, S_LEAVING, S_BASIN, S_TOWER, S_TOWER_I, S_DP, S_CW, S_HX, S_CWRT };
enum { P_CHILLER, P_TOWER, P_CHW_PUMP, P_CW_PUMP, P_CHW_KGS, P_CW_KGS, P_RUNNING, P_AVAILABLE, P_HX, P_CHILLER_HEAT, P_REJECTED,
       P_WATER, P_VALVE_TRAVEL, P_FAN_TRAVEL, P_CHW_WANTED, P_CAPACITY };
enum { C_MODE, C_TIMER, C_RAMP, C_STARTS, C_LOCK, C_LOAD, CHILLER_COLUMNS };
enum { U_CHWST, U_CHW_DP, U_CHILLERS, U_CWST, U_CELLS, U_CW_FLOW, U_ECONOMIZER, U_HALL };
enum { LOOP_STUCK, LOOP_GAIN, LOOP_STICTION, LOOP_WIND_UP, LOOPS };
#define OFF 0.0
#define STARTING 1.0
#define RUNNING 2.0
#define CP_AIR 1006.0
#define CP_WATER 4186.0
#define LATENT 2.501e6
#define MACHINES_MAX 64

static double larger(double a, double b) { return b > a ? b : a; }
static double smaller(double a, double b) { return b < a ? b : a; }
static double clamp(double x, double lo, double hi) { return isnan(x) ? x : x < lo ? lo : x > hi ? hi : x; }

/* moist air */
static double saturation_pa(double t) { return 611.2 * exp(17.62 * t / (243.12 + t)); }
static double saturation_w(double t, double pa) { double v = 1.0 * saturation_pa(t); return 0.62198 * v / (pa - v); }
static double enthalpy(double t, double w) { return CP_AIR * t + w * (LATENT + 1860.0 * t); }
static double saturation_h(double t, double pa) { return enthalpy(t, saturation_w(t, pa)); }
static double saturated_at(double h, double pa) {
    if (isnan(h) || isnan(pa)) return NAN;
    double t = 20.0;
    for (int k = 0; k < 30; k++) {
        double v = saturation_pa(t), w = 0.62198 * v / (pa - v);
        double slope_w = w * 17.62 * 243.12 / ((243.12 + t) * (243.12 + t)) * pa / (pa - v);
        double slope = CP_AIR + slope_w * (LATENT + 1860.0 * t) + w * 1860.0;
        double before = t;
        t = smaller(larger(t + (h - enthalpy(t, w)) / slope, -20.0), 80.0);
        if (fabs(t - before) < 1e-7) break;
    }
    return t;
}

/* exchange */
static double effectiveness(double ua, double hot, double cold) {
    double c_min = smaller(hot, cold), r = c_min / larger(hot, cold), ntu = ua / c_min;
    if (r > 0.999999) return ntu / (1.0 + ntu);
    double e = exp(-ntu * (1.0 - r));
    return (1.0 - e) / (1.0 - r * e);
}
static void coil(double air_c, double air_w, double air, double water_c, double water, double ua_nom, double air_nom,
                 double water_nom, double pa, double bypass, double *sensible, double *latent, double *condensate) {
    *sensible = *latent = *condensate = 0.0;
    if (air <= 0.0 || water <= 0.0) return;
    double ua = ua_nom / (0.65 * pow(air / air_nom, -0.8) + 0.35 * pow(water / water_nom, -0.8));
    double c_air = air * CP_AIR, c_water = water * CP_WATER;
    *sensible = effectiveness(ua, c_air, c_water) * smaller(c_air, c_water) * (air_c - water_c);
    double metal = water_c + 0.35 * larger(air_c - *sensible / c_air - water_c, 0.0);
    double dry = saturation_w(metal, pa);
    if (air_w > dry && *sensible > 0.0) *condensate = air * (1.0 - bypass) * (air_w - dry);
    *latent = *condensate * LATENT;
}
static double plate_heat(double hot_c, double hot, double cold_c, double cold, double ua_nom, double nom) {
    if (hot_c <= cold_c || hot <= 0.0 || cold <= 0.0) return 0.0;
    double ua = 2.0 * ua_nom / (pow(hot / nom, -0.7) + pow(cold / nom, -0.7));
    double c_hot = hot * CP_WATER, c_cold = cold * CP_WATER;
    return effectiveness(ua, c_hot, c_cold) * smaller(c_hot, c_cold) * (hot_c - cold_c);
}
static double pump(double flow, double head, double running, double nom, double efficiency, double floor_w) {
    if (flow <= 0.0 || running <= 0.0) return 0.0;
    double q = flow / (running * nom);
    double eta = efficiency * larger(1.0 - 0.22 * (1.0 - q) * (1.0 - q) - 0.05 * (1.0 - q), 0.35);
    return flow * head / (998.0 * smaller(eta, efficiency)) + running * floor_w;
}

/* chiller */
static double biquadratic(const double *c, double x, double y) {
    return c[0] + c[1] * x + c[2] * x * x + c[3] * y + c[4] * y * y + c[5] * x * y;
}
static double capacity(double chws, double cw_in, const Chiller *p) {
    double x = clamp(chws, p->x_min_c, p->x_max_c), y = clamp(cw_in, p->y_min_c, p->y_max_c), best = 0.0;
    for (int k = 0; k < 6; k++) best = larger(best, biquadratic(p->cap, x, y + (p->y_max_c - y) * k / 5.0));
    return p->capacity_nom_w * best * larger(1.0 - 0.012 * larger(cw_in - p->y_max_c, 0.0), 0.2);
}
static double carnot(double chws, double cw_out) {
    double cold = chws - 1.5;
    return larger(cw_out + 1.8 - cold, 4.0) / (cold + 273.15);
}
static double chiller_power(double load, double chws, double cw_in, double cw, const Chiller *p) {
    if (load <= 0.0) return 0.0;
    double rise_nom = load * (1.0 + 1.0 / p->cop_ref) / (4186.0 * p->condenser_flow_nom_kgs);
    double rise = rise_nom * p->condenser_flow_nom_kgs / larger(cw, 0.05 * p->condenser_flow_nom_kgs);
    double out_c = larger(cw_in + rise, chws + p->lift_min_k), in_c = out_c - rise_nom;
    double x = clamp(chws, p->x_min_c, p->x_max_c), y = clamp(in_c, p->y_min_c, p->y_max_c);
    double eir = biquadratic(p->eir, x, y) / p->cop_ref;
    eir *= pow(carnot(chws, out_c) / carnot(x, y + rise_nom), p->lift_exponent);
    double cap = capacity(chws, in_c, p), plr = clamp(load / cap, p->plr_min, 1.1);
    double part = p->plr[0] + p->plr[1] * plr + p->plr[2] * plr * plr;
    return cap * eir * part * smaller(1.0, load / (cap * p->plr_min));
}
static void sequence(double *row, int wanted, int healthy, const Chiller *p, double dt) {
    row[C_LOCK] = larger(row[C_LOCK] - dt, 0.0);
    if (!healthy || !wanted) {
        if (row[C_MODE] != OFF) row[C_LOCK] = p->restart_s;
        row[C_MODE] = OFF;
        row[C_RAMP] = row[C_LOAD] = 0.0;
        return;
    }
    if (row[C_MODE] == OFF && row[C_LOCK] <= 0.0) {
        row[C_MODE] = STARTING;
        row[C_TIMER] = p->start_s;
        row[C_STARTS] += 1.0;
    }
    if (row[C_MODE] == STARTING) {
        row[C_TIMER] -= dt;
        if (row[C_TIMER] <= 0.0) {
            row[C_MODE] = RUNNING;
            row[C_RAMP] = p->plr_min;
        }
    } else if (row[C_MODE] == RUNNING)
        row[C_RAMP] = smaller(row[C_RAMP] + p->ramp_per_s * dt, 1.05);
}
static double carry(double *row, double wanted, double chws, double cw_in, const Chiller *p, double dt) {
    if (row[C_MODE] != RUNNING) return 0.0;
    double cap = capacity(chws, cw_in, p), load = clamp(wanted, 0.0, cap * row[C_RAMP]);
    row[C_RAMP] = smaller(row[C_RAMP], larger(load / cap, p->plr_min) + 0.15);
    if (load < p->plr_min * cap && !isnan(load)) row[C_STARTS] += dt / 900.0 * (1.0 - load / (p->plr_min * cap));
    row[C_LOAD] = load;
    return load;
}

/* tower */
static double merkel(double ewt, double lwt, double wb, double ratio, double pa) {
    double slice = (ewt - lwt) / 6, air = saturation_h(wb, pa), total = 0.0;
    for (int k = 0; k < 6; k++) {
        double water = lwt + (k + 0.5) * slice;
        air += 4186.0 * ratio * slice;
        double drive = saturation_h(water, pa) - (air - 2093.0 * ratio * slice);
        if (drive <= 0.0) return 1e9;
        total += 4186.0 * slice / drive;
    }
    return total;
}
static double tower_air(double speed, double wb, double pa, const Tower *p) {
    double density = pa / (287.055 * (wb + 273.15));
    return larger(p->air_flow_nom_kgs * larger(speed, p->speed_min) * density / 1.2, 0.05);
}
static double tower_leaving(double ewt, double water, double speed, double wb, double pa, const Tower *p) {
    if (ewt <= wb || water <= 0.0) return ewt;
    double ratio = water / tower_air(speed, wb, pa, p), have = p->ntu_coefficient * pow(ratio, p->ntu_exponent);
    double lo = wb, hi = ewt;
    for (int k = 0; k < 16; k++) {
        double mid = 0.5 * (lo + hi);
        if (merkel(ewt, mid, wb, ratio, pa) > have) lo = mid; else hi = mid;
    }
    return hi;
}
static double tower_fan(double speed, double db, double pa, const Tower *p) {
    if (speed <= p->speed_min) speed = p->speed_min;
    return p->fan_power_nom_w * (speed * speed * speed) * pa / (287.055 * (db + 273.15)) / 1.2;
}
static double tower_makeup(double heat, double speed, double db, double wb, double pa, const Tower *p) {
    double air = tower_air(speed, wb, pa, p);
    double leaving = saturated_at(saturation_h(wb, pa) + heat / air, pa), latent = heat - 1006.0 * air * (leaving - db);
    return larger(latent, 0.0) / LATENT * p->cycles / (p->cycles - 1.0);
}

/* hall */
static double servers(double *x, double it, const double *row, double dt, double *y, double *heat) {
    double inlet = x[X_COLD], d = inlet - row[H_KNEE];
    it *= clamp(1.0 - (inlet - 45.0) / 10.0, 0.0, 1.0);
    double target = 1.0 + row[H_FAN_SLOPE] * 0.5 * (d + sqrt(d * d + 0.8));
    x[X_SRV_FAN] += (target - x[X_SRV_FAN]) * dt / 15.0;
    double s = x[X_SRV_FAN], hinge = row[H_FAN_SLOPE] > 0.0 ? (target - 1.0) / row[H_FAN_SLOPE] : 0.0;
    double work = it * (1.0 + row[H_LEAKAGE] * hinge);
    y[Y_SRV_FAN] = it * row[H_FAN_SHARE] * s * s * s;
    y[Y_SRV_FAN_IDLE] = it * row[H_FAN_SHARE];
    y[Y_IT] = work + y[Y_SRV_FAN];
    double sink_jk = 2.5 * row[H_IT_NOM], chassis_jk = 18.0 * row[H_IT_NOM];
    double from_sink = sink_jk / 30.0 * (x[X_SINK] - inlet);
    double air = larger(from_sink, 0.1 * row[H_IT_NOM]) / (CP_AIR * row[H_DT]) * s;
    double middle = inlet + 0.5 * from_sink / (air * CP_AIR);
    double from_chassis = chassis_jk / 300.0 * (x[X_CHASSIS] - middle);
    x[X_SINK] += dt * (work - from_sink) / sink_jk;
    x[X_CHASSIS] -= dt * from_chassis / chassis_jk;
    *heat = from_sink + from_chassis + y[Y_SRV_FAN];
    return air;
}
static double aisles(double *x, double drawn, double heat, double crah, const double *row, double dt, double *y) {
    double supplied = (1.0 - row[H_LEAK]) * crah, gap = (1.0 - row[H_RECIRC]) * drawn - supplied, width = 0.02 * drawn;
    double missing = 0.5 * (gap + sqrt(gap * gap + width * width));
    double back = smaller(row[H_RECIRC] * drawn + missing, 0.95 * drawn), from_crah = drawn - back;
    double exhaust = x[X_COLD] + heat / (drawn * CP_AIR);
    double cold_jk = 0.5 * row[H_IT_NOM], hot_jk = 1.0 * row[H_IT_NOM];
    double to_structure = 6e-3 * row[H_IT_NOM] * (x[X_HOT] - x[X_STRUCT]);
    double mixed = (from_crah * x[X_SAT] + back * x[X_HOT]) / drawn;
    double renewed = 1.0 - exp(-dt * drawn * CP_AIR / cold_jk);
    x[X_COLD] += (mixed - x[X_COLD]) * renewed;
    x[X_SUPPLIED] += (x[X_SAT] - x[X_SUPPLIED]) * renewed;
    double hot_in = exhaust - to_structure / (drawn * CP_AIR) + row[H_MISC] / (drawn * CP_AIR);
    x[X_HOT] += (hot_in - x[X_HOT]) * (1.0 - exp(-dt * drawn * CP_AIR / hot_jk));
    x[X_STRUCT] += dt * to_structure / row[H_STRUCTURE];
    y[Y_AISLE_DP] = 40.0 * (supplied / drawn - 1.0);
    y[Y_DEMAND] = drawn;
    y[Y_INLET] = x[X_COLD];
    double spill = larger(crah - from_crah, 0.0);
    return (from_crah * x[X_HOT] + spill * x[X_SAT]) / larger(from_crah + spill, 1e-3);
}
static double worst_share(const double *row) { return row[H_WORST_UA] < 0.999 && row[H_CRAHS] > 1.5 ? 1.0 / row[H_CRAHS] : 0.0; }
typedef struct { double travel, sensible, latent, condensate, water; } Group;
static Group crah_group(double *x, int sat, int valve, int integral, double share, double ua, double air, double return_c,
                        double sat_sp, double water_c, double open, const double *loop, double pa, const double *row, double dt) {
    Group g;
    double error = (loop[LOOP_GAIN] > 1.0 ? x[X_SEEN] : x[sat]) - sat_sp, most = loop[LOOP_WIND_UP] > 0.5 ? 4.0 : 1.0;
    x[integral] = clamp(x[integral] + loop[LOOP_GAIN] * 0.002 * error * dt, 0.0, most);
    double target = clamp(x[integral] + loop[LOOP_GAIN] * 0.08 * error, 0.0, 1.0);
    double moved = clamp(target - x[valve], -(1.0 / 60.0) * dt, (1.0 / 60.0) * dt);
    if (fabs(target - x[valve]) < loop[LOOP_STICTION]) moved = 0.0;
    if (loop[LOOP_STUCK] == loop[LOOP_STUCK]) moved = loop[LOOP_STUCK] - x[valve];
    x[valve] += moved;
    double nom = share * row[H_WATER_NOM];
    g.water = nom * x[valve] * open;
    coil(return_c, x[X_HUMID], share * air, water_c, g.water, ua, share * row[H_AIR_NOM], nom, pa, row[H_BYPASS], &g.sensible,
         &g.latent, &g.condensate);
    double off = return_c - g.sensible / (share * air * CP_AIR);
    x[sat] += (off - x[sat]) * dt / 20.0;
    g.travel = fabs(moved);
    return g;
}
static const double WELL[LOOPS] = {NAN, 1.0, 0.0, 0.0};
static double crahs(double *x, double return_c, double fan_sp, double sat_sp, double water_c, double dp, double dp_nom,
                    double outdoor_w, double pa, double fans_ok, const double *loop, const double *row, double dt, double *y) {
    x[X_FAN] += clamp(fan_sp - x[X_FAN], -(1.0 / 90.0) * dt, 1.0 / 30.0 * dt);
    double density = pa / (287.055 * (x[X_SAT] + 273.15)), air = larger(row[H_AIR_NOM] * fans_ok * x[X_FAN] * density / 1.2, 0.01);
    y[Y_CRAH] = row[H_CRAHS] * fans_ok * (row[H_FAN_W] * pow(x[X_FAN], row[H_FAN_EXP]) * density / 1.2 + row[H_FAN_FLOOR]);
    double hot = return_c + y[Y_CRAH] / (air * CP_AIR), open = sqrt(larger(dp, 0.0) / dp_nom);
    double alive[HALL_COLUMNS];
    memcpy(alive, row, sizeof alive);
    alive[H_UA] = row[H_UA] * fans_ok;
    alive[H_AIR_NOM] = row[H_AIR_NOM] * fans_ok;
    alive[H_WATER_NOM] = row[H_WATER_NOM] * fans_ok;
    double worst = worst_share(row), each = alive[H_UA] / (row[H_CRAHS] - 1.0 + row[H_WORST_UA]);
    double others = worst == 0.0 ? alive[H_UA] : each * (row[H_CRAHS] - 1.0);
    int sat = worst == 0.0 ? X_SAT : X_SAT_OTHERS;
    x[X_SEEN] += (x[X_ELEMENT] - x[X_SEEN]) * dt / 30.0;
    x[X_ELEMENT] += (x[sat] - x[X_ELEMENT]) * dt / 30.0;
    Group g = crah_group(x, sat, X_VALVE, X_VALVE_I, 1.0 - worst, others, air, hot, sat_sp, water_c, open, loop, pa, alive, dt);
    if (worst > 0.0) {
        Group m = crah_group(x, X_SAT_WORST, X_VALVE_WORST, X_VALVE_I_WORST, worst, each * row[H_WORST_UA], air, hot, sat_sp,
                             water_c, open, WELL, pa, alive, dt);
        g.travel += worst * m.travel;
        g.sensible += m.sensible;
        g.latent += m.latent;
        g.condensate += m.condensate;
        g.water += m.water;
        x[X_SAT] = (1.0 - worst) * x[X_SAT_OTHERS] + worst * x[X_SAT_WORST];
    }
    double makeup = 0.32e-9 * row[H_MAKEUP] * row[H_IT_NOM];
    double makeup_w = clamp(outdoor_w, 0.0055, larger(row[H_MAKEUP_HUMID], 0.0055));
    x[X_HUMID] += dt * (makeup * (makeup_w - x[X_HUMID]) - g.condensate) / (2.5e-3 * row[H_IT_NOM]);
    x[X_HUMID] = larger(x[X_HUMID], 1e-4);
    y[Y_RAT] = return_c;
    y[Y_COIL] = g.sensible + g.latent;
    y[Y_LATENT] = g.condensate * LATENT;
    y[Y_WATER_KGS] = g.water;
    y[Y_WATER_OUT] = g.water > 1e-3 ? water_c + (g.sensible + g.latent) / (larger(g.water, 1e-3) * CP_WATER) : water_c;
    return g.travel;
}
static void racks(double *restrict inlet, double supplied, double cold, double hot, const double *restrict gain,
                  const double *restrict offset, ptrdiff_t n, double moved) {
    double worst = larger(hot, cold);
    for (ptrdiff_t i = 0; i < n; i++) {
        double target = smaller(supplied + gain[i] * (cold - supplied), worst) + offset[i];
        inlet[i] += (target - inlet[i]) * moved;
    }
}
static void halls_step(double *x, double *inlet, const double *gain, const double *offset, const long *starts, const double *it,
                       const double *u, double *s, double outdoor_w, double pa, const double *health, const double *rows,
                       ptrdiff_t halls, const Plant *p, double dt, double *y, double *out) {
    double flow = 0.0, heat = 0.0, travel = 0.0;
    for (ptrdiff_t h = 0; h < halls; h++) {
        const double *row = rows + h * HALL_COLUMNS, *well = health + h * (1 + LOOPS);
        double *xh = x + h * HALL_STATES, *yh = y + h * HALL_OUTPUTS, heat_w;
        double density = pa / (287.055 * (xh[X_SAT] + 273.15));
        double crah = larger(row[H_AIR_NOM] * well[0] * xh[X_FAN] * density / 1.2, 0.01), before = xh[X_FAN];
        double drawn = servers(xh, it[h], row, dt, yh, &heat_w);
        double return_c = aisles(xh, drawn, heat_w, crah, row, dt, yh);
        travel += crahs(xh, return_c, u[U_HALL + 2 * h + 1], u[U_HALL + 2 * h], s[S_SUPPLY2], s[S_DP], p->chw_dp_nom_pa, outdoor_w,
                        pa, well[0], well + 1, row, dt, yh);
        ptrdiff_t lo = starts[h], hi = starts[h + 1], near = hi - (ptrdiff_t)ceil(worst_share(row) * (hi - lo));
        double supplied = xh[X_SUPPLIED], cold = xh[X_COLD], moved = dt / 10.0, beside = 0.5 * (xh[X_SAT_WORST] - xh[X_SAT]);
        racks(inlet + lo, supplied, cold, xh[X_HOT], gain + lo, offset + lo, near - lo, moved);
        racks(inlet + near, supplied + beside, cold + beside, xh[X_HOT], gain + near, offset + near, hi - near, moved);
        flow += yh[Y_WATER_KGS];
        heat += yh[Y_WATER_KGS] * yh[Y_WATER_OUT];
        out[P_FAN_TRAVEL] += fabs(xh[X_FAN] - before);
    }
    out[P_CHW_WANTED] = flow;
    out[P_VALVE_TRAVEL] += travel;
    out[P_CHW_KGS] = flow > 1e-6 ? heat / flow : s[S_RETURN1];
}

/* plant */
static double mix(double volume, double inflow, double flow, double mass, double dt) {
    return inflow + (volume - inflow) * exp(-dt * flow / mass);
}
static double condenser_pumps(double active, double economizer, const Plant *p) {
    double duty = economizer > 0.01 ? p->duty : 0.0;
    return p->hx_parallel > 0.5 ? smaller(active + duty, larger(p->cw_pumps, active)) : larger(active, duty);
}
static double plate_water(double cw, double active, double economizer, const Plant *p) {
    if (p->hx_parallel < 0.5) return cw;
    return economizer > 0.01 ? cw * p->duty / (p->duty + active) : 0.0;
}
static double chillers_step(double *machines, ptrdiff_t n, const double *u, double flow, double ahead, double condenser_in,
                            double cw_each, double running, const Plant *p, double dt, double *out, double *power) {
    double carried = 0.0;
    *power = out[P_CAPACITY] = 0.0;
    if (running < 0.5) return 0.0;
    double each = flow / running, wanted = larger(each * CP_WATER * (ahead - u[U_CHWST]), 0.0);
    for (ptrdiff_t i = 0; i < n; i++) {
        double *row = machines + i * CHILLER_COLUMNS, load = carry(row, wanted, u[U_CHWST], condenser_in, &p->chiller, dt);
        if (row[C_MODE] == RUNNING) {
            out[P_CAPACITY] += capacity(u[U_CHWST], condenser_in, &p->chiller);
            *power += chiller_power(load, u[U_CHWST], condenser_in, cw_each, &p->chiller);
        }
        carried += load;
    }
    return carried;
}
static double chilled_water_step(double *s, double *machines, ptrdiff_t n, const double *u, double active, double cw_each,
                                 double pump_ok, const Plant *p, double dt, double *out) {
    double returned = out[P_CHW_KGS], running = 0.0, power;
    for (ptrdiff_t i = 0; i < n; i++) running += machines[i * CHILLER_COLUMNS + C_MODE] == RUNNING ? 1.0 : 0.0;
    s[S_DP] += (u[U_CHW_DP] * pump_ok * pump_ok - s[S_DP]) * (1.0 - exp(-dt / 8.0));
    double wanted = out[P_CHW_WANTED], primary = running * p->chiller.evaporator_flow_nom_kgs * pump_ok, flow = larger(wanted, 0.02);
    if (p->primary_secondary < 0.5) {
        flow = larger(flow, p->chiller.evaporator_min_ratio * primary);
        primary = flow;
    }
    double back = (wanted * returned + (flow - wanted) * s[S_SUPPLY2]) / flow, quarter = 0.25 * p->loop_kg;
    s[S_RETURN1] = mix(s[S_RETURN1], back, flow, quarter, dt);
    s[S_RETURN2] = mix(s[S_RETURN2], s[S_RETURN1], flow, quarter, dt);
    double q = flow / p->chw_flow_nom_kgs, q_hx = flow / p->hx_flow_nom_kgs;
    double head = s[S_DP] + p->chw_friction_pa * q * q + s[S_HX] * p->hx_dp_pa * (q_hx * q_hx);
    double pumps = clamp(ceil(flow / p->chw_pump_nom_kgs - 0.03), 1.0, p->chw_pumps);
    out[P_CHW_PUMP] = pump(flow, head, pumps, p->chw_pump_nom_kgs, p->chw_pump_eta, p->chw_pump_floor_w);
    if (p->primary_secondary > 0.5)
        out[P_CHW_PUMP] += pump(primary, p->primary_head_pa, running, p->chiller.evaporator_flow_nom_kgs, p->chw_pump_eta,
                                p->chw_pump_floor_w);
    double entering = s[S_RETURN2] + out[P_CHW_PUMP] / (flow * CP_WATER);
    out[P_CHW_KGS] = flow;
    double plate_kgs = plate_water(out[P_CW_KGS], active, s[S_HX], p);
    double plate = s[S_HX] * plate_heat(entering, flow, s[S_BASIN], plate_kgs, p->hx_ua, p->hx_flow_nom_kgs);
    plate = clamp(plate, 0.0, larger(flow * CP_WATER * (entering - u[U_CHWST]), 0.0));
    out[P_HX] = plate;
    double ahead = entering - plate / (flow * CP_WATER), condenser_in = s[S_BASIN];
    if (p->hx_parallel < 0.5 && plate_kgs > 0.1) condenser_in += plate / (plate_kgs * CP_WATER);
    double around = larger(primary - flow, 0.0), back_kgs = larger(flow - primary, 0.0);
    double into = (ahead * (primary - around) + s[S_LEAVING] * around) / larger(primary, 1e-6);
    double carried = chillers_step(machines, n, u, primary, into, condenser_in, cw_each, running, p, dt, out, &power);
    out[P_CHILLER] = power;
    out[P_CHILLER_HEAT] = carried;
    double leaving = into - carried / (larger(primary, 1e-6) * CP_WATER);
    leaving = (leaving * (flow - back_kgs) + ahead * back_kgs) / flow;
    s[S_LEAVING] = mix(s[S_LEAVING], leaving, flow, 1500.0, dt);
    s[S_SUPPLY1] = mix(s[S_SUPPLY1], s[S_LEAVING], flow, quarter + p->buffer_kg, dt);
    s[S_SUPPLY2] = mix(s[S_SUPPLY2], s[S_SUPPLY1], flow, quarter, dt);
    return plate + carried + power;
}
static double sequence_step(double *machines, ptrdiff_t n, const double *u, const double *ok, const Plant *p, double dt, double *out) {
    double wanted = u[U_CHILLERS], taken = 0.0, available = 0.0, active = 0.0, running = 0.0, keep[MACHINES_MAX] = {0};
    for (ptrdiff_t i = 0; i < n; i++) available += ok[i] > 0.5 ? 1.0 : 0.0;
    for (ptrdiff_t i = 0; i < n; i++)
        if (machines[i * CHILLER_COLUMNS + C_MODE] != OFF && ok[i] > 0.5 && taken < wanted - 0.5) {
            keep[i] = 1.0;
            taken += 1.0;
        }
    while (taken < wanted - 0.5) {
        ptrdiff_t best = -1;
        for (ptrdiff_t i = 0; i < n; i++) {
            const double *m = machines + i * CHILLER_COLUMNS, *b = machines + best * CHILLER_COLUMNS;
            if (keep[i] < 0.5 && ok[i] > 0.5 && (best < 0 || m[C_LOCK] + 60.0 * m[C_STARTS] < b[C_LOCK] + 60.0 * b[C_STARTS])) best = i;
        }
        if (best < 0) break;
        keep[best] = 1.0;
        taken += 1.0;
    }
    for (ptrdiff_t i = 0; i < n; i++) {
        double *m = machines + i * CHILLER_COLUMNS;
        sequence(m, keep[i] > 0.5, ok[i] > 0.5, &p->chiller, dt);
        active += m[C_MODE] != OFF ? 1.0 : 0.0;
        running += m[C_MODE] == RUNNING ? 1.0 : 0.0;
    }
    out[P_RUNNING] = running;
    out[P_AVAILABLE] = available;
    return active;
}
static void condenser_step(double *s, const double *u, double db, double wb, double pa, double active, double pump_ok,
                           double tower_ok, double rejected, const Plant *p, double dt, double *out) {
    double cw = out[P_CW_KGS], cells = clamp(u[U_CELLS], 1.0, p->cells), units = condenser_pumps(active, s[S_HX], p);
    double q = units > 0.0 ? cw / larger(units * p->cw_pump_nom_kgs, 1e-6) : 0.0, head = p->cw_static_pa + p->cw_friction_pa * q * q;
    if (p->hx_parallel < 0.5 || active < 0.5) {
        double q_hx = cw / p->hx_flow_nom_kgs;
        head += s[S_HX] * p->hx_dp_pa * (q_hx * q_hx);
    }
    out[P_CW_PUMP] = pump(cw, head, units, p->cw_pump_nom_kgs, p->cw_pump_eta, p->cw_pump_floor_w);
    double error = s[S_BASIN] - u[U_CWST];
    s[S_TOWER_I] = clamp(s[S_TOWER_I] + 0.0008 * error * dt, 0.0, 1.0);
    double target = clamp(s[S_TOWER_I] + 0.10 * error, p->tower.speed_min, 1.0) * tower_ok;
    s[S_TOWER] += clamp(target - s[S_TOWER], -(1.0 / 60.0) * dt, 1.0 / 60.0 * dt);
    out[P_REJECTED] = out[P_TOWER] = out[P_WATER] = 0.0;
    if (cw < 0.5) return;
    s[S_CWRT] = s[S_BASIN] + rejected / (cw * CP_WATER);
    double leaving = tower_leaving(s[S_CWRT], cw / cells, s[S_TOWER], wb, pa, &p->tower);
    out[P_REJECTED] = cw * CP_WATER * (s[S_CWRT] - leaving);
    out[P_TOWER] = cells * tower_fan(s[S_TOWER], db, pa, &p->tower) * tower_ok;
    double each = larger(out[P_REJECTED], 0.0) / cells;
    out[P_WATER] = cells * tower_makeup(each, s[S_TOWER], db, wb, pa, &p->tower);
    s[S_BASIN] = mix(s[S_BASIN], leaving, cw, p->basin_kg, dt);
    (void)pump_ok;
}
static void step(double *x, double *s, double *machines, ptrdiff_t n, double *inlet, const double *gain, const double *offset,
                 const long *starts, const double *it, const double *u, const double *weather, const double *health,
                 const double *chillers_ok, const double *plant_ok, const double *rows, ptrdiff_t halls, const Plant *p, double dt,
                 double *y, double *out) {
    halls_step(x, inlet, gain, offset, starts, it, u, s, weather[3], weather[2], health, rows, halls, p, dt, y, out);
    double active = sequence_step(machines, n, u, chillers_ok, p, dt, out);
    double economizer = u[U_ECONOMIZER] > 0.5 && p->hx_present > 0.5 ? 1.0 : 0.0;
    s[S_HX] += clamp(economizer - s[S_HX], -(1.0 / 120.0) * dt, 1.0 / 120.0 * dt);
    double units = condenser_pumps(active, s[S_HX], p);
    s[S_CW] += clamp(u[U_CW_FLOW] - s[S_CW], -(1.0 / 60.0) * dt, 1.0 / 60.0 * dt);
    out[P_CW_KGS] = s[S_CW] * units * p->chiller.condenser_flow_nom_kgs * plant_ok[1];
    double cw_each = out[P_CW_KGS] / larger(units, 1.0);
    if (p->hx_parallel > 0.5)
        cw_each = (out[P_CW_KGS] - plate_water(out[P_CW_KGS], active, s[S_HX], p)) / larger(active, 1.0);
    double rejected = chilled_water_step(s, machines, n, u, active, cw_each, plant_ok[0], p, dt, out);
    condenser_step(s, u, weather[0], weather[1], weather[2], active, plant_ok[1], plant_ok[2], rejected, p, dt, out);
}

int plant_doubles(void) { return (int)(sizeof(Plant) / sizeof(double)); }

void plant_steps(long count, double *x, double *s, double *machines, long n, double *inlet, const double *gain,
                 const double *offset, const long *starts, const double *it, const double *u, const double *weather,
                 const double *health, const double *chillers_ok, const double *plant_ok, const double *rows, long halls,
                 const double *record, double dt, double *y, double *out) {
    Plant p;
    memcpy(&p, record, sizeof p);
    for (long k = 0; k < count; k++)
        step(x, s, machines, n, inlet, gain, offset, starts, it, u, weather, health, chillers_ok, plant_ok, rows, halls, &p, dt, y,
             out);
}
