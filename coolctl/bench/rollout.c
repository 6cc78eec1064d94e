/* The roll-out of coolctl/thermal/rollout.py once more, in C, for any number of candidates side by side (-DLANES=16).
 *
 * The same equations in the same order; the bench compares what both come to, so that whoever changes one has to change
 * the other.
 */
#include <math.h>
#include <string.h>

#ifndef LANES
#define LANES 16
#endif

enum { H_SAT, H_FAN, H_MASS, H_STRUCT, H_INLET, H_HOTTEST, H_IT_NOW, H_COLDEST, H_AIR_KGS, H_SERVER_W, H_DRAWN_KGS, H_IT_W,
       H_SAT_SP, H_SAT_OWN, H_FAN_SP, H_FAN_OWN, H_CRAH_SHARE, H_COIL, H_HOT_K, H_VALVE, H_MASS_JK, H_OFF_K, H_SAT_MIN, HALL_ROWS };
enum { P_SUPPLY, P_RETURN, P_OPEN, P_OPEN_MAX, P_CHWST, P_CHWST_OWN, P_ABLE_W, P_ABLE_LATER_W, P_LATER_S, P_PLATES_WK, P_CWST,
       P_LOST_S, P_SUPPLY_JK, P_RETURN_JK, PLANT_ROWS };
enum { R_HOTTEST, R_FIRST_S, R_SECOND_S, RESULTS };
enum { S_HOTTEST, S_TAKEN_W, S_FLOW_KGS, S_USED, SUMS };

typedef struct {
    double it_nom, crahs, air_nom, fan_nom, fan_exponent, fan_floor, fan_min, ua_nom, water_nom, leak, recirculation, hot_gain,
        hot_offset, misc, fan_ratio, fan_slope, knee, delta_t, leakage, structure, worst_ua, bypass, dewpoint;
} Hall;

#define CP_AIR 1006.0
#define CP_WATER 4186.0
#define AIR_NOM 1.2
#define KNEE_WIDTH 0.5
#define STRUCTURE_WK_PER_W 6e-3
#define UP_TAU 20.0
#define DOWN_TAU 90.0
#define SINK_TAU 40.0
#define COIL_TAU 60.0
#define AISLE_TAU 30.0
#define OWN_K_PER_S (2.0 / 60.0)
#define OPEN_PER_S 0.01
#define FAN_UP_PER_S 0.0334
#define ANSWER_K 0.3
#define STANDS 0.005
#define RATIO_MAX 0.999

static inline double smaller(double a, double b) { return a < b ? a : b; }
static inline double larger(double a, double b) { return a > b ? a : b; }
static inline double towards(double begin, double end, double most) { return begin + larger(smaller(end - begin, most), -most); }

static inline double exp_minus(double x) {
    double y = smaller(x, 60.0) * 0.0625;
    double s = 1.0 + y * (1.0 / 7.0) * (1.0 + y * 0.125);
    s = 1.0 + y * 0.5 * (1.0 + y * (1.0 / 3.0) * (1.0 + y * 0.25 * (1.0 + y * 0.2 * (1.0 + y * (1.0 / 6.0) * s))));
    s = 1.0 + y * s;
    s *= s;
    s *= s;
    s *= s;
    return 1.0 / (s * s);
}

static inline double log_one_plus(double z) {
    double s = z / (2.0 + z), q = s * s;
    double series = 1.0 + q * (1.0 / 3.0 + q * (0.2 + q * (1.0 / 7.0 + q * (1.0 / 9.0 + q * (1.0 / 11.0 + q * (1.0 / 13.0))))));
    return 2.0 * s * series;
}

static inline double soft_corner(double x, double width) {
    return larger(x, 0.0) + width * log_one_plus(exp_minus(fabs(x) / width));
}

static inline double power_minus_08(double x) {
    double y = (3.485 + x * (153.4 + x * 158.4)) / (1.0 + x * (96.77 + x * 219.8)), q;
    q = y * y, y *= 1.2 - 0.2 * x * y * q * q;
    q = y * y, y *= 1.2 - 0.2 * x * y * q * q;
    q = y * y, y *= 1.2 - 0.2 * x * y * q * q;
    q = y * y;
    return q * q;
}

static void servers(double *restrict hall, const double *restrict plant, double t, double dt, double pressure, const Hall *p) {
    double full = p->air_nom / AIR_NOM, idle = 1.0 / (CP_AIR * p->delta_t), sink = smaller(dt / SINK_TAU, 1.0);
#define H(row) hall[(row) * LANES + i]
#define P(row) plant[(row) * LANES + i]
#define S(row) sums[(row) * LANES + i]
#define R(row) result[(row) * LANES + i]
    for (int i = 0; i < LANES; i++) {
        double fan_sp = H(H_FAN_SP), fan_own = H(H_FAN_OWN), inlet = H(H_INLET);
        double wanted = t > P(P_LOST_S) ? fan_own : fan_sp;
        double fan = H(H_FAN) = smaller(wanted, H(H_FAN) + FAN_UP_PER_S * dt);
        double density = pressure / (287.055 * (H(H_SAT) + 273.15));
        H(H_AIR_KGS) = H(H_CRAH_SHARE) * full * larger(fan, 0.05) * density;
        double wanted_w = H(H_IT_W) * smaller(larger((55.0 - inlet) / (55.0 - 45.0), 0.02), 1.0);
        double it = H(H_IT_NOW) + sink * (wanted_w - H(H_IT_NOW));
        double over = soft_corner(inlet - p->knee, KNEE_WIDTH), speed = 1.0 + p->fan_slope * over;
        H(H_IT_NOW) = it;
        H(H_DRAWN_KGS) = it * idle * speed;
        H(H_SERVER_W) = it * (1.0 + p->leakage * over + p->fan_ratio * speed * speed * speed);
    }
}

static void coils(double *restrict hall, const double *restrict plant, double t, double dt, const Hall *p, double *restrict sums) {
    double up = smaller(dt / UP_TAU, 1.0), down = smaller(dt / DOWN_TAU, 1.0), coil = smaller(dt / COIL_TAU, 1.0);
    double structure_wk = STRUCTURE_WK_PER_W * p->it_nom;
    for (int i = 0; i < LANES; i++) {
        double share = H(H_CRAH_SHARE), mass = H(H_MASS), sat = H(H_SAT), open = P(P_OPEN);
        double air_ratio = H(H_AIR_KGS) / (share * p->air_nom), air_wk = H(H_AIR_KGS) * CP_AIR;
        double open_kgs = larger(share * open * p->water_nom, 1e-3);
        double resistance = 0.65 * power_minus_08(larger(air_ratio, STANDS));
        resistance += 0.35 * power_minus_08(larger(open, STANDS));
        double least = smaller(air_wk, open_kgs * CP_WATER), most = larger(air_wk, open_kgs * CP_WATER);
        double ratio = smaller(least / most, RATIO_MAX);
        double e = exp_minus(H(H_COIL) * share * p->ua_nom / (resistance * least) * (1.0 - ratio));
        double able = (1.0 - e) / (1.0 - ratio * e) * least;
        able = open > STANDS ? able : 0.0;
        double most_w = larger(able * (mass - P(P_SUPPLY)), 0.0);
        double since = larger(t - P(P_LOST_S), 0.0);
        double sat_sp = towards(H(H_SAT_SP), H(H_SAT_OWN), OWN_K_PER_S * since);
        sat += (sat_sp > sat ? up : down) * (sat_sp - sat);
        double coldest = H(H_COLDEST) + coil * (mass - most_w / air_wk - H(H_COLDEST));
        sat = larger(smaller(sat, larger(mass, sat_sp)), coldest);
        double coil_w = larger(air_wk * (mass - sat), 0.0);
        double used = smaller(larger(coil_w / larger(most_w, 1.0), 0.02), 1.0);
        double lost = structure_wk * (mass - H(H_STRUCT) - 2.0);
        H(H_SAT) = sat;
        H(H_COLDEST) = coldest;
        H(H_MASS) = mass + dt * (H(H_SERVER_W) + p->misc - coil_w - lost) / H(H_MASS_JK);
        H(H_STRUCT) += dt * lost / p->structure;
        S(S_TAKEN_W) += coil_w;
        S(S_FLOW_KGS) += open_kgs / (1.0 + H(H_VALVE) * (1.0 / used - 1.0));
        S(S_USED) = larger(S(S_USED), used);
    }
}

static void racks(double *restrict hall, double dt, double answer, const Hall *p, double *restrict sums) {
    double aisle = smaller(dt / AISLE_TAU, 1.0);
    for (int i = 0; i < LANES; i++) {
        double drawn = H(H_DRAWN_KGS), sat = H(H_SAT);
        double lacking = soft_corner(drawn - (1.0 - p->leak) * H(H_AIR_KGS), 0.03 * drawn) / drawn;
        double back = smaller(p->recirculation + (1.0 - p->recirculation) * lacking, 0.9);
        double rise = smaller(back / (1.0 - back) * H(H_SERVER_W) / (drawn * CP_AIR), 40.0);
        double hottest = sat + p->hot_gain * rise + p->hot_offset + H(H_HOT_K);
        hottest = H(H_HOTTEST) + aisle * (hottest - H(H_HOTTEST));
        double set = H(H_SAT_SP), colder = larger(set - OWN_K_PER_S * dt, smaller(H(H_SAT_MIN), set));
        H(H_SAT_SP) = hottest > answer ? colder : set;
        H(H_INLET) += aisle * (sat + rise - H(H_INLET));
        H(H_HOTTEST) = hottest;
        S(S_HOTTEST) = larger(S(S_HOTTEST), hottest);
    }
}

static void loop(double *restrict plant, const double *restrict sums, double t, double dt, double first, double second,
                 double *restrict result) {
    for (int i = 0; i < LANES; i++) {
        double since = larger(t - P(P_LOST_S), 0.0), wanted = towards(P(P_CHWST), P(P_CHWST_OWN), OWN_K_PER_S * since);
        double supply = P(P_SUPPLY), back = P(P_RETURN), flow_wk = larger(S(S_FLOW_KGS) * CP_WATER, 1.0);
        double able = P(P_ABLE_W), later = P(P_ABLE_LATER_W);
        able = t >= P(P_LATER_S) ? later : able;
        able += P(P_PLATES_WK) * larger(back - P(P_CWST), 0.0);
        double leaving = smaller(larger(wanted, back - able / flow_wk), back), coming = supply + S(S_TAKEN_W) / flow_wk;
        P(P_SUPPLY) = supply + smaller(dt * flow_wk / P(P_SUPPLY_JK), 1.0) * (leaving - supply);
        P(P_RETURN) = back + smaller(dt * flow_wk / P(P_RETURN_JK), 1.0) * (coming - back);
        double more = S(S_USED) > 0.95 ? OPEN_PER_S * dt : 0.0;
        P(P_OPEN) = larger(smaller(P(P_OPEN) + more, P(P_OPEN_MAX)), 0.0);
        double hottest = S(S_HOTTEST), first_s = R(R_FIRST_S), second_s = R(R_SECOND_S), end = t + dt;
        R(R_HOTTEST) = larger(R(R_HOTTEST), hottest);
        R(R_FIRST_S) = smaller(first_s, hottest > first ? end : first_s);
        R(R_SECOND_S) = smaller(second_s, hottest > second ? end : second_s);
    }
}

/* `hall_now` and `plant` are scratch of one group. */
void roll_out(const double *hall_rows, const double *plant_rows, long begin, long end, long steps, double dt, double pressure,
              const double *halls, long count, double first, double second, double *found, double *hall_now, double *plant) {
    const long hall_size = HALL_ROWS * LANES, group = count * hall_size, plant_size = PLANT_ROWS * LANES;
    for (long at = begin; at < end; at++) {
        double sums[SUMS * LANES], *result = found + at * RESULTS * LANES;
        memcpy(hall_now, hall_rows + at * group, group * sizeof(double));
        memcpy(plant, plant_rows + at * plant_size, plant_size * sizeof(double));
        for (int i = 0; i < RESULTS * LANES; i++)
            result[i] = i < LANES ? -273.0 : steps * dt;
        for (long k = 0; k < steps; k++) {
            double t = k * dt;
            for (int i = 0; i < SUMS * LANES; i++)
                sums[i] = i < LANES ? -273.0 : 0.0;
            for (long h = 0; h < count; h++) {
                const Hall *p = (const Hall *)halls + h;
                servers(hall_now + h * hall_size, plant, t, dt, pressure, p);
                coils(hall_now + h * hall_size, plant, t, dt, p, sums);
                racks(hall_now + h * hall_size, dt, first - ANSWER_K, p, sums);
            }
            loop(plant, sums, t, dt, first, second, result);
        }
    }
}

int hall_doubles(void) { return (int)(sizeof(Hall) / sizeof(double)); }
