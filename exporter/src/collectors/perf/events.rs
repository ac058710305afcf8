//! The events that have names of their own: as flags choose them, as they are shown, and as the kernel numbers them.

use secure_exporter_perf_event::Event;

/// An event that a flag can name.
#[derive(Debug)]
pub(super) struct Known {
    /// What the flag calls it.
    pub(super) name: &'static str,
    pub(super) metric: &'static str,
    pub(super) help: &'static str,
    pub(super) event: Event,
}

const L1_DATA: u8 = 0;
const L1_INSTRUCTIONS: u8 = 1;
const LAST_LEVEL: u8 = 2;
const DATA_TLB: u8 = 3;
const INSTRUCTION_TLB: u8 = 4;
const BRANCHES: u8 = 5;

const READ: u8 = 0;
const WRITE: u8 = 1;

/// The kernel counts all accesses under the name that node_exporter translates as a hit.
const ACCESS: u8 = 0;
const MISS: u8 = 1;

/// What processors count.
pub(super) static HARDWARE: [Known; 9] = [
    Known {
        name: "CpuCycles",
        metric: "node_perf_cpucycles_total",
        help: "Cycles of the CPU, at the frequency that it has at the moment.",
        event: Event::hardware(0),
    },
    Known {
        name: "CpuInstr",
        metric: "node_perf_instructions_total",
        help: "Instructions that the CPU has executed.",
        event: Event::hardware(1),
    },
    Known {
        name: "CacheRef",
        metric: "node_perf_cache_refs_total",
        help: "Accesses to the CPU's caches, mostly to that of the last level.",
        event: Event::hardware(2),
    },
    Known {
        name: "CacheMisses",
        metric: "node_perf_cache_misses_total",
        help: "Accesses to the CPU's caches, mostly to that of the last level, which did not have what was wanted.",
        event: Event::hardware(3),
    },
    Known {
        name: "BranchInstr",
        metric: "node_perf_branch_instructions_total",
        help: "Branches that the CPU has executed.",
        event: Event::hardware(4),
    },
    Known {
        name: "BranchMisses",
        metric: "node_perf_branch_misses_total",
        help: "Branches that the CPU had predicted wrongly.",
        event: Event::hardware(5),
    },
    Known {
        name: "StalledCyclesFrontend",
        metric: "node_perf_stalled_cycles_frontend_total",
        help: "Cycles in which the CPU waited for instructions.",
        event: Event::hardware(7),
    },
    Known {
        name: "StalledCyclesBackend",
        metric: "node_perf_stalled_cycles_backend_total",
        help: "Cycles in which the CPU waited for data or for its units.",
        event: Event::hardware(8),
    },
    Known {
        name: "RefCpuCycles",
        metric: "node_perf_ref_cpucycles_total",
        help: "Cycles of the CPU, at a frequency that is always the same.",
        event: Event::hardware(9),
    },
];

/// What the kernel counts.
pub(super) static SOFTWARE: [Known; 5] = [
    Known {
        name: "PageFault",
        metric: "node_perf_page_faults_total",
        help: "Page faults.",
        event: Event::software(2),
    },
    Known {
        name: "ContextSwitch",
        metric: "node_perf_context_switches_total",
        help: "Switches from one thread to another.",
        event: Event::software(3),
    },
    Known {
        name: "CpuMigration",
        metric: "node_perf_cpu_migrations_total",
        help: "Threads that came from another CPU.",
        event: Event::software(4),
    },
    Known {
        name: "MinorFault",
        metric: "node_perf_minor_faults_total",
        help: "Page faults for which nothing had to be read.",
        event: Event::software(5),
    },
    Known {
        name: "MajorFault",
        metric: "node_perf_major_faults_total",
        help: "Page faults for which something had to be read.",
        event: Event::software(6),
    },
];

/// What processors count of their caches.
pub(super) static CACHE: [Known; 16] = [
    Known {
        name: "L1DataReadHit",
        metric: "node_perf_cache_l1d_read_hits_total",
        help: "Reads from the first level's cache of data.",
        event: Event::cache(L1_DATA, READ, ACCESS),
    },
    Known {
        name: "L1DataReadMiss",
        metric: "node_perf_cache_l1d_read_misses_total",
        help: "Reads that the first level's cache of data could not answer.",
        event: Event::cache(L1_DATA, READ, MISS),
    },
    Known {
        name: "L1DataWriteHit",
        metric: "node_perf_cache_l1d_write_hits_total",
        help: "Writes to the first level's cache of data.",
        event: Event::cache(L1_DATA, WRITE, ACCESS),
    },
    Known {
        name: "L1InstrReadMiss",
        metric: "node_perf_cache_l1_instr_read_misses_total",
        help: "Reads that the first level's cache of instructions could not answer.",
        event: Event::cache(L1_INSTRUCTIONS, READ, MISS),
    },
    Known {
        name: "LLReadHit",
        metric: "node_perf_cache_ll_read_hits_total",
        help: "Reads from the cache of the last level.",
        event: Event::cache(LAST_LEVEL, READ, ACCESS),
    },
    Known {
        name: "LLReadMiss",
        metric: "node_perf_cache_ll_read_misses_total",
        help: "Reads that the cache of the last level could not answer.",
        event: Event::cache(LAST_LEVEL, READ, MISS),
    },
    Known {
        name: "LLWriteHit",
        metric: "node_perf_cache_ll_write_hits_total",
        help: "Writes to the cache of the last level.",
        event: Event::cache(LAST_LEVEL, WRITE, ACCESS),
    },
    Known {
        name: "LLWriteMiss",
        metric: "node_perf_cache_ll_write_misses_total",
        help: "Writes to what the cache of the last level did not have.",
        event: Event::cache(LAST_LEVEL, WRITE, MISS),
    },
    Known {
        name: "InstrTLBReadHit",
        metric: "node_perf_cache_tlb_instr_read_hits_total",
        help: "Addresses of instructions looked up in the TLB.",
        event: Event::cache(INSTRUCTION_TLB, READ, ACCESS),
    },
    Known {
        name: "InstrTLBReadMiss",
        metric: "node_perf_cache_tlb_instr_read_misses_total",
        help: "Addresses of instructions that the TLB did not have.",
        event: Event::cache(INSTRUCTION_TLB, READ, MISS),
    },
    Known {
        name: "BPUReadHit",
        metric: "node_perf_cache_bpu_read_hits_total",
        help: "Branches that the branch predictor was asked about.",
        event: Event::cache(BRANCHES, READ, ACCESS),
    },
    Known {
        name: "BPUReadMiss",
        metric: "node_perf_cache_bpu_read_misses_total",
        help: "Branches that the branch predictor predicted wrongly.",
        event: Event::cache(BRANCHES, READ, MISS),
    },
    Known {
        name: "DataTLBReadHit",
        metric: "node_perf_cache_tlb_data_read_hits_total",
        help: "Addresses of data to read looked up in the TLB.",
        event: Event::cache(DATA_TLB, READ, ACCESS),
    },
    Known {
        name: "DataTLBReadMiss",
        metric: "node_perf_cache_tlb_data_read_misses_total",
        help: "Addresses of data to read that the TLB did not have.",
        event: Event::cache(DATA_TLB, READ, MISS),
    },
    Known {
        name: "DataTLBWriteHit",
        metric: "node_perf_cache_tlb_data_write_hits_total",
        help: "Addresses of data to write looked up in the TLB.",
        event: Event::cache(DATA_TLB, WRITE, ACCESS),
    },
    Known {
        name: "DataTLBWriteMiss",
        metric: "node_perf_cache_tlb_data_write_misses_total",
        help: "Addresses of data to write that the TLB did not have.",
        event: Event::cache(DATA_TLB, WRITE, MISS),
    },
];
